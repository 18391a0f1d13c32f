#include "common/transfer/ucx/shm_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace tandem {
namespace {

namespace fs = std::filesystem;

void Touch(const std::string& path) { std::ofstream(path) << "bytes"; }

TEST(ShmFolder, FilesRemovedBetweenKeepAndRestoreAreThereAgain) {
  const std::unique_ptr<ShmFolder> folder = ShmFolder::Create();
  ASSERT_NE(folder, nullptr);
  const std::string file = folder->path() + "/ucx_shm_posix_1";
  Touch(file);
  folder->Keep();
  ASSERT_TRUE(fs::remove(file));
  folder->Restore();
  EXPECT_TRUE(fs::exists(file));
  EXPECT_FALSE(fs::exists(file + ".kept"));
  fs::remove_all(folder->path());
}

TEST(ShmFolder, PathIsShortEnoughForUcxAddresses) {
  const std::unique_ptr<ShmFolder> folder = ShmFolder::Create();
  ASSERT_NE(folder, nullptr);
  EXPECT_LE(folder->path().size(), 40u);
  fs::remove_all(folder->path());
}

TEST(ShmFolder, OnlyFoldersOfTheDeadAreSweptAndOnlyAfterTheirTime) {
  const std::unique_ptr<ShmFolder> living = ShmFolder::Create();
  ASSERT_NE(living, nullptr);
  const std::string dead = living->path() + "x";
  ASSERT_EQ(mkdir(dead.c_str(), 0700), 0);
  std::string owner;
  std::getline(std::ifstream(living->path() + "/owner"), owner);
  // The same process id, but another start time: a process that is gone.
  std::ofstream(dead + "/owner") << owner.substr(0, owner.rfind(' ')) << " 1";
  Touch(dead + "/ucx_shm_posix_1");
  ShmFolder::Sweep(std::chrono::seconds(0));  // finds it dead
  EXPECT_TRUE(fs::exists(dead));
  ShmFolder::Sweep(std::chrono::hours(1));
  EXPECT_TRUE(fs::exists(dead));
  ShmFolder::Sweep(std::chrono::seconds(0));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(living->path()));
  fs::remove_all(living->path());
}

// A process may end while its /proc file is read, and a folder may be anybody's.
TEST(ShmFolder, WhatCannotBeReadIsLeftAlone) {
  const std::string strange = ShmFolder::Create()->path();
  ASSERT_TRUE(fs::remove(strange + "/owner"));
  ASSERT_EQ(mkdir((strange + "/owner").c_str(), 0700), 0);  // opens, and fails when it is read
  EXPECT_NO_THROW(ShmFolder::Sweep(std::chrono::seconds(0)));
  EXPECT_TRUE(fs::exists(strange));
  fs::remove_all(strange);
}

}  // namespace
}  // namespace tandem
