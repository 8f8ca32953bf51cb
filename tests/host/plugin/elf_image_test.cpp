#include "host/plugin/elf_image.hpp"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace sallyport {
namespace {

std::string mini_plugin() {
  std::ifstream in(MINI_PLUGIN, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Result<ElfImage> read(const std::string& bytes) {
  return read_elf(std::span(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()));
}

TEST(ElfImage, ReadsManifestAndEntry) {
  const std::string bytes = mini_plugin();
  const auto image = read(bytes);
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_THAT(std::string(image->manifest), testing::StartsWith(R"({"name":"mini")"));
  EXPECT_THAT(std::string(image->manifest), testing::EndsWith("}"));
  EXPECT_TRUE(image->exports_entry);
}

TEST(ElfImage, ReadsWhatItNeeds) {
  const auto image = read([] {
    std::ifstream in("/proc/self/exe", std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(in), {}};
  }());
  EXPECT_FALSE(image.ok()) << "a program has no manifest";
}

// Each cut of the file is refused or read, never anything else; the whole one alone has all of it.
TEST(ElfImage, EveryTruncationIsRefused) {
  const std::string bytes = mini_plugin();
  for (std::size_t size = 0; size < bytes.size(); size += 7) EXPECT_FALSE(read(bytes.substr(0, size)).ok()) << size;
}

struct Damage {
  const char* why;
  std::size_t at;
  std::uint64_t value;
  std::size_t width;
};

class ElfDamage : public testing::TestWithParam<Damage> {};

TEST_P(ElfDamage, IsRefused) {
  std::string bytes = mini_plugin();
  std::memcpy(bytes.data() + GetParam().at, &GetParam().value, GetParam().width);
  EXPECT_FALSE(read(bytes).ok());
}

INSTANTIATE_TEST_SUITE_P(Header, ElfDamage,
                         testing::Values(Damage{"Magic", 0, 0x7f454c47, 4}, Damage{"Class32", EI_CLASS, ELFCLASS32, 1},
                                         Damage{"BigEndian", EI_DATA, ELFDATA2MSB, 1},
                                         Damage{"OtherMachine", offsetof(Elf64_Ehdr, e_machine), EM_RISCV, 2},
                                         Damage{"Executable", offsetof(Elf64_Ehdr, e_type), ET_EXEC, 2},
                                         Damage{"SectionsOutside", offsetof(Elf64_Ehdr, e_shoff), UINT64_MAX - 8, 8},
                                         Damage{"NoSections", offsetof(Elf64_Ehdr, e_shnum), 0, 2},
                                         Damage{"ManySections", offsetof(Elf64_Ehdr, e_shnum), 0xfff0, 2},
                                         Damage{"ForeignEntrySize", offsetof(Elf64_Ehdr, e_shentsize), 40, 2},
                                         Damage{"NamesMissing", offsetof(Elf64_Ehdr, e_shstrndx), 0xfffe, 2}),
                         [](const auto& row) { return row.param.why; });

}  // namespace
}  // namespace sallyport
