#include "memory/shared_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

namespace sallyport {
namespace {

constexpr std::size_t kSize = 3 * 4096;

TEST(SharedMemory, IsSeenByWhoMapsIt) {
  auto made = SharedMemory::create("test", kSize);
  ASSERT_TRUE(made.ok());
  std::memcpy(made->data(), "seen", 4);
  std::array<std::byte, 4> head;
  const auto size = SharedMemory::look(made->fd(), head);
  ASSERT_TRUE(size.ok());
  EXPECT_EQ(*size, kSize);
  EXPECT_EQ(std::memcmp(head.data(), "seen", 4), 0);
  auto mapped = SharedMemory::map(made->fd(), *size);
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(mapped->fd(), -1);
  mapped->data()[kSize - 1] = std::byte{7};
  EXPECT_EQ(made->data()[kSize - 1], std::byte{7});
}

TEST(SharedMemory, NobodyChangesItsSize) {
  auto made = SharedMemory::create("test", kSize);
  ASSERT_TRUE(made.ok());
  EXPECT_NE(ftruncate(made->fd(), 4096), 0);
  EXPECT_NE(ftruncate(made->fd(), 2 * kSize), 0);
  EXPECT_NE(fcntl(made->fd(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(SharedMemory, OnlyItsCreatorWritesWhereThatWasSaid) {
  auto made = SharedMemory::create("test", kSize, SharedWriters::kCreator);
  ASSERT_TRUE(made.ok());
  made->data()[0] = std::byte{1};
  EXPECT_EQ(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, made->fd(), 0), MAP_FAILED);
  EXPECT_EQ(pwrite(made->fd(), "x", 1, 0), -1);
  auto mapped = SharedMemory::map(made->fd(), kSize, SharedWriters::kCreator);
  ASSERT_TRUE(mapped.ok());
  made->data()[0] = std::byte{2};
  EXPECT_EQ(mapped->data()[0], std::byte{2});
}

TEST(SharedMemory, AnotherFileIsRefused) {
  std::array<std::byte, 8> head;
  const int open_size = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(open_size, kSize), 0);
  EXPECT_EQ(SharedMemory::look(open_size, head).error().code, ErrorCode::kCorrupt);
  close(open_size);
  auto small = SharedMemory::create("test", 4);
  ASSERT_TRUE(small.ok());
  EXPECT_EQ(SharedMemory::look(small->fd(), head).error().code, ErrorCode::kCorrupt);
  auto all = SharedMemory::create("test", kSize);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(SharedMemory::look(all->fd(), head, SharedWriters::kCreator).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(SharedMemory::look(-1, head).error().code, ErrorCode::kCorrupt);
}

TEST(SharedMemory, StaysWhereItIsWhenMoved) {
  auto made = SharedMemory::create("test", kSize);
  ASSERT_TRUE(made.ok());
  std::byte* const at = made->data();
  SharedMemory moved = *std::move(made);
  EXPECT_EQ(moved.data(), at);
  SharedMemory assigned;
  assigned = std::move(moved);
  EXPECT_EQ(assigned.data(), at);
  assigned.data()[0] = std::byte{1};
}

}  // namespace
}  // namespace sallyport
