#include "engine/kv_fingerprint.h"

#include <fstream>
#include <gtest/gtest.h>

#include "fakes/temporary_folder.h"

namespace llorch {
namespace {

// clause: W-61
TEST(SampleFile, ADifferenceInSizeTimeOrSampledBytesShows) {
  const TemporaryFolder folder;
  const auto files = make_file_system();
  std::string bytes(3 << 20, 'w');
  const auto path = folder.write("model", bytes);
  const auto time = std::filesystem::last_write_time(path);
  const auto sampled = [&] {
    const auto sample = sample_file(*files, path);
    EXPECT_TRUE(sample);
    return sample.value_or("");
  };
  const auto rewritten = [&](const std::string& other) {
    folder.write("model", other);
    std::filesystem::last_write_time(path, time);
    return sampled();
  };
  const auto first = sampled();
  EXPECT_EQ(rewritten(bytes), first);
  EXPECT_NE(rewritten(bytes + "w"), first);
  for (const std::size_t at : {std::size_t{0}, bytes.size() / 256 * 100 + 17}) {
    auto other = bytes;
    other[at] = 'x';
    EXPECT_NE(rewritten(other), first) << at;
  }
  EXPECT_EQ(rewritten(bytes), first);
  std::filesystem::last_write_time(path, time + std::chrono::seconds{1});
  EXPECT_NE(sampled(), first);
  EXPECT_EQ(sample_file(*files, folder / "absent").error().code, Code::not_found);
}

}  // namespace
}  // namespace llorch
