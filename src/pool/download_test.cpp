#include "pool/download.h"

#include <gtest/gtest.h>

#include "fakes/pool_world.h"
#include "pool/sha256.h"

namespace llorch {
namespace {

TEST(Sha256, EqualsThePublishedExamples) {
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

class Download : public testing::Test {
 protected:
  static constexpr const char* url = "http://hub/file";
  const std::string whole_ = "0123456789";

  void SetUp() override {
    request_.url = url;
    request_.target = world_.folder / "m.gguf";
    request_.size_bytes = whole_.size();
    request_.sha256 = sha256_of(whole_);
  }
  FakeHttp::Page page(long status, const std::string& body, const std::string& range = "",
                      const std::string& etag = "\"e1\"") {
    FakeHttp::Page made{.status = status, .headers = {{"etag", etag}}, .body = body};
    if (!range.empty()) made.headers["content-range"] = range;
    if (status == 200) made.headers["content-length"] = std::to_string(whole_.size());
    return made;
  }
  bool target_exists() { return world_.files.exists(request_.target); }
  bool part_exists() { return world_.files.exists(request_.target.string() + ".part"); }
  std::string sent_header(std::size_t request, const std::string& name) {
    for (const auto& header : world_.http.requests.at(request).headers) {
      if (header.starts_with(name + ": ")) return header.substr(name.size() + 2);
    }
    return "";
  }

  PoolWorld world_;
  DownloadRequest request_;
};

// clause: P-12
TEST_F(Download, AWholeFileGetsItsNameAndLeavesNoPart) {
  world_.http.pages[url] = {page(200, whole_)};
  EXPECT_EQ(download_file(world_.context, request_), request_.sha256);
  EXPECT_EQ(world_.files.read(request_.target, 100), whole_);
  EXPECT_FALSE(part_exists());
}

// clause: P-12
TEST_F(Download, GoesOnAfterACutWhereItWas) {
  world_.http.pages[url] = {page(200, "0123"), page(206, "456789", "bytes 4-9/10")};
  ASSERT_TRUE(download_file(world_.context, request_));
  EXPECT_EQ(world_.files.read(request_.target, 100), whole_);
  EXPECT_EQ(sent_header(1, "Range"), "bytes=4-");
  EXPECT_EQ(sent_header(1, "If-Range"), "\"e1\"");
}

// clause: P-12
TEST_F(Download, TakesUpWhatAnEarlierRunLeft) {
  world_.folder.write("m.gguf.part", "012345");
  world_.folder.write("m.gguf.part.json",
                      R"({"etag":"\"e1\"","sha256":")" + request_.sha256 + "\"}");
  world_.http.pages[url] = {page(206, "6789", "bytes 6-9/10")};
  std::uint64_t checked = 0;
  request_.checking = [&](std::uint64_t done, std::uint64_t) { checked = done; };
  ASSERT_TRUE(download_file(world_.context, request_));
  EXPECT_EQ(checked, 6U);
  EXPECT_EQ(world_.files.read(request_.target, 100), whole_);
  EXPECT_EQ(sent_header(0, "Range"), "bytes=6-");
}

TEST_F(Download, APartOfAnotherFileIsNotUsed) {
  world_.folder.write("m.gguf.part", "xxxxxx");
  world_.folder.write("m.gguf.part.json", R"({"etag":"\"e0\"","sha256":"other"})");
  world_.http.pages[url] = {page(200, whole_)};
  ASSERT_TRUE(download_file(world_.context, request_));
  EXPECT_EQ(sent_header(0, "Range"), "");
  EXPECT_EQ(world_.files.read(request_.target, 100), whole_);
}

TEST_F(Download, AFileReplacedMeanwhileIsFetchedAnew) {
  // Without a promised sha256 only the ETag tells.
  request_.sha256.clear();
  request_.size_bytes = 0;
  world_.http.pages[url] = {page(200, "abcd"), page(200, whole_, "", "\"e2\"")};
  ASSERT_TRUE(download_file(world_.context, request_));
  EXPECT_EQ(world_.files.read(request_.target, 100), whole_);
}

TEST_F(Download, AnAnswerFromTheWrongPlaceIsNotAppended) {
  world_.http.pages[url] = {page(200, "0123"), page(206, "89", "bytes 8-9/10"), page(200, whole_)};
  ASSERT_TRUE(download_file(world_.context, request_));
  EXPECT_EQ(world_.files.read(request_.target, 100), whole_);
}

// clause: P-13
TEST_F(Download, AWrongHashIsRefusedAndNothingKept) {
  world_.http.pages[url] = {page(200, "9876543210")};
  const auto got = download_file(world_.context, request_);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::conflict);
  EXPECT_FALSE(target_exists());
  EXPECT_FALSE(part_exists());
}

// clause: P-14
TEST_F(Download, AFullDiskIsNoticedBeforeTheFirstByte) {
  world_.files.free_bytes_told = 1'000;
  world_.http.pages[url] = {page(200, whole_)};
  const auto got = download_file(world_.context, request_);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::insufficient_storage);
  EXPECT_TRUE(world_.http.requests.empty());
}

// A reply without Content-Length went on until the disk was full.
// clause: P-14
TEST_F(Download, AReplyWithoutALengthIsBoundByTheSizeKnownBefore) {
  auto endless = page(200, whole_ + "0");
  endless.headers.erase("content-length");
  world_.http.pages[url] = {endless};
  const auto got = download_file(world_.context, request_);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::conflict);
  EXPECT_FALSE(target_exists());
  EXPECT_FALSE(world_.files.exists(request_.target.string() + ".part"));

  auto cut_off = page(200, "0123");
  cut_off.headers.erase("content-length");
  world_.http.pages[url] = {cut_off, page(206, "456789", "bytes 4-9/10")};
  ASSERT_TRUE(download_file(world_.context, request_));
  EXPECT_EQ(*world_.files.read(request_.target, 100), whole_);
}

// clause: P-15
TEST_F(Download, WhatPassesIsTriedAgainAndWhatDoesNotIsExplained) {
  world_.http.pages[url] = {
      {.status = 429, .headers = {{"retry-after", "9"}}}, {.status = 503}, page(200, whole_)};
  ASSERT_TRUE(download_file(world_.context, request_));
  EXPECT_EQ(world_.waited_ms, 9'000 + 1'000);

  request_.target = world_.folder / "n.gguf";
  request_.explain = [](const WebReply& reply) {
    return Error{.code = Code::forbidden, .message = std::to_string(reply.status)};
  };
  world_.http.pages[url] = {{.status = 403, .body = "<html>"}};
  const auto refused = download_file(world_.context, request_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::forbidden);
  EXPECT_FALSE(target_exists());
}

TEST_F(Download, GivesUpAfterAttemptsWithoutProgressAndKeepsThePart) {
  world_.http.pages[url] = {page(200, "0123"), page(206, "", "bytes 4-9/10")};
  const auto got = download_file(world_.context, request_);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::unreachable);
  EXPECT_LE(world_.http.requests.size(), 10U);
  EXPECT_TRUE(part_exists());
  EXPECT_FALSE(target_exists());
}

// clause: P-17
TEST_F(Download, NobodyThereIsSaidAtOnceWhereAnotherSourceWaits) {
  request_.other_source = true;
  const auto got = download_file(world_.context, request_);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::unreachable);
  EXPECT_EQ(world_.waited_ms, 0);
  request_.other_source = false;
  EXPECT_FALSE(download_file(world_.context, request_));
  EXPECT_EQ(world_.waited_ms, 500 + 1'000);
}

// clause: P-15
TEST_F(Download, ABrokenFirstRequestIsTriedAgain) {
  request_.other_source = true;
  world_.http.failures = {{Code::unreachable, false}, {Code::timeout, false}};
  world_.http.pages[url] = {page(200, whole_)};
  ASSERT_TRUE(download_file(world_.context, request_));
  EXPECT_EQ(world_.waited_ms, 500 + 1'000);
}

}  // namespace
}  // namespace llorch
