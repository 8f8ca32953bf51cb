#include "host/plugin/elf_image.hpp"

#include <elf.h>

#include <cstring>
#include <optional>

namespace sallyport {
namespace {

constexpr std::size_t kMaxSections = 4096;       // a plugin has about 40
constexpr std::size_t kMaxManifest = 64 * 1024;  // a manifest has about 1 kB
constexpr std::size_t kMaxSymbols = 1 << 20;

#if defined(__aarch64__)
constexpr Elf64_Half kMachine = EM_AARCH64;
#else
constexpr Elf64_Half kMachine = EM_X86_64;
#endif

Error malformed(const char* why, std::size_t offset = 0) { return {ErrorCode::kMalformed, why, offset}; }

// Reads fixed-size records and ranges of one file; nothing outside it, whatever the headers say.
class File {
 public:
  explicit File(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  std::optional<T> at(std::uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }

  std::optional<std::string_view> range(std::uint64_t offset, std::uint64_t size) const {
    if (offset > bytes_.size() || bytes_.size() - offset < size) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(bytes_.data()) + offset, size);
  }

 private:
  std::span<const std::byte> bytes_;
};

// The NUL-terminated text at an offset of a string table.
std::optional<std::string_view> text_at(std::string_view table, std::uint64_t offset) {
  if (offset >= table.size()) return std::nullopt;
  const std::size_t end = table.find('\0', offset);
  if (end == std::string_view::npos) return std::nullopt;
  return table.substr(offset, end - offset);
}

struct Sections {
  std::vector<Elf64_Shdr> headers;
  std::string_view names;
};

Result<Sections> read_sections(const File& file, const Elf64_Ehdr& header) {
  if (header.e_shentsize != sizeof(Elf64_Shdr)) return malformed("section header entries have a foreign size");
  if (header.e_shnum == 0 || header.e_shnum > kMaxSections)
    return malformed("no section headers; was the file stripped of them?");
  Sections sections;
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const std::uint64_t step = i * sizeof(Elf64_Shdr);
    if (header.e_shoff > UINT64_MAX - step) return malformed("section headers lie outside the file");
    const auto section = file.at<Elf64_Shdr>(header.e_shoff + step);
    if (!section) return malformed("section headers lie outside the file", header.e_shoff);
    sections.headers.push_back(*section);
  }
  if (header.e_shstrndx >= sections.headers.size()) return malformed("section name table is missing");
  const auto& table = sections.headers[header.e_shstrndx];
  const auto names = file.range(table.sh_offset, table.sh_size);
  if (!names) return malformed("section name table lies outside the file", table.sh_offset);
  sections.names = *names;
  return sections;
}

// The string table that a symbol or dynamic section names by sh_link.
std::optional<std::string_view> linked_strings(const File& file, const Sections& sections, const Elf64_Shdr& section) {
  if (section.sh_link >= sections.headers.size()) return std::nullopt;
  const auto& table = sections.headers[section.sh_link];
  if (table.sh_type != SHT_STRTAB) return std::nullopt;
  return file.range(table.sh_offset, table.sh_size);
}

std::optional<Error> read_symbols(const File& file, const Sections& sections, const Elf64_Shdr& section,
                                  ElfImage& image) {
  const auto strings = linked_strings(file, sections, section);
  if (!strings || section.sh_size / sizeof(Elf64_Sym) > kMaxSymbols)
    return malformed("dynamic symbol table is broken", section.sh_offset);
  if (!file.range(section.sh_offset, section.sh_size))
    return malformed("dynamic symbols lie outside the file", section.sh_offset);
  for (std::uint64_t i = 1; i < section.sh_size / sizeof(Elf64_Sym); ++i) {
    const auto symbol = file.at<Elf64_Sym>(section.sh_offset + i * sizeof(Elf64_Sym));
    const auto name = text_at(*strings, symbol->st_name);
    if (!name) return malformed("a symbol has no name", section.sh_offset);
    if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol->st_info) == STB_LOCAL) continue;
    if (*name == "policy_plugin_entry" && ELF64_ST_TYPE(symbol->st_info) == STT_OBJECT) image.exports_entry = true;
  }
  return std::nullopt;
}

std::optional<Error> read_dynamic(const File& file, const Sections& sections, const Elf64_Shdr& section,
                                  ElfImage& image) {
  const auto strings = linked_strings(file, sections, section);
  if (!strings || !file.range(section.sh_offset, section.sh_size))
    return malformed("dynamic section is broken", section.sh_offset);
  for (std::uint64_t i = 0; i < section.sh_size / sizeof(Elf64_Dyn); ++i) {
    const auto entry = file.at<Elf64_Dyn>(section.sh_offset + i * sizeof(Elf64_Dyn));
    if (entry->d_tag == DT_NULL) break;
    if (entry->d_tag == DT_RPATH || entry->d_tag == DT_RUNPATH)
      return malformed("a library search path (RPATH, RUNPATH) is refused");
    if (entry->d_tag != DT_NEEDED) continue;
    const auto name = text_at(*strings, entry->d_un.d_val);
    if (!name || name->empty() || name->find('/') != std::string_view::npos)
      return malformed("a needed library is named by path");
    image.needed.push_back(*name);
  }
  return std::nullopt;
}

}  // namespace

Result<ElfImage> read_elf(std::span<const std::byte> bytes) {
  const File file(bytes);
  const auto header = file.at<Elf64_Ehdr>(0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return malformed("not an ELF file");
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
      header->e_machine != kMachine) {
    return Error{ErrorCode::kUnsupported, "built for another machine", 0};
  }
  if (header->e_type != ET_DYN) return malformed("not a shared object");

  Result<Sections> sections = read_sections(file, *header);
  if (!sections.ok()) return sections.error();

  ElfImage image;
  bool manifest_seen = false;
  for (const auto& section : sections->headers) {
    const auto name = text_at(sections->names, section.sh_name);
    if (!name) return malformed("a section has no name");
    std::optional<Error> error;
    if (section.sh_type == SHT_DYNSYM) error = read_symbols(file, *sections, section, image);
    if (section.sh_type == SHT_DYNAMIC) error = read_dynamic(file, *sections, section, image);
    if (error) return *error;
    if (*name != ".policy.manifest") continue;
    if (manifest_seen) return malformed("two .policy.manifest sections");
    manifest_seen = true;
    const auto content = file.range(section.sh_offset, section.sh_size);
    if (section.sh_type == SHT_NOBITS || !content || content->size() > kMaxManifest)
      return malformed("section .policy.manifest is broken");
    image.manifest = content->substr(0, content->find('\0'));
  }
  if (!manifest_seen) return malformed("no section .policy.manifest; not a Sallyport plugin");
  return image;
}

}  // namespace sallyport
