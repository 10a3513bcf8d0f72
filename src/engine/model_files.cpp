#include "engine/model_files.h"

#include <string>
#include <utility>

namespace llorch {
namespace {

class FileSource final : public ByteSource {
 public:
  explicit FileSource(ReadableFile& file) : file_(file) {}
  std::uint64_t size() const override { return file_.size_bytes(); }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> to) override {
    return file_.read_at(offset, to);
  }

 private:
  ReadableFile& file_;
};

}  // namespace

std::filesystem::path model_part_path(const std::filesystem::path& first, std::uint32_t number,
                                      std::uint32_t count) {
  const auto digits = [](std::uint32_t value) {
    auto text = std::to_string(value);
    return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
  };
  const auto tail = [&](std::uint32_t part) {
    return "-" + digits(part) + "-of-" + digits(count) + ".gguf";
  };
  auto name = first.filename().string();
  if (!name.ends_with(tail(1))) return {};
  name.resize(name.size() - tail(1).size());
  return first.parent_path() / (name + tail(number));
}

Result<GgufHeader> read_model_header(FileSystem& files, const std::filesystem::path& path) {
  auto file = files.open(path);
  if (!file) return fail(std::move(file.error()));
  FileSource source(**file);
  auto header = read_gguf_header(source);
  if (!header) {
    header.error().message = path.string() + ": " + header.error().message;
    return fail(std::move(header.error()));
  }
  return header;
}

Result<ModelShape> read_model_files(FileSystem& files, const std::filesystem::path& first) {
  const auto header = read_model_header(files, first);
  if (!header) return fail(header.error());
  auto shape = check_model(*header);
  if (!shape) {
    shape.error().message = first.string() + ": " + shape.error().message;
    return shape;
  }
  for (std::uint32_t part = 2; part <= shape->split_count; ++part) {
    const auto next = model_part_path(first, part, shape->split_count);
    if (next.empty()) {
      return fail(Code::model_load_failed,
                  first.string() + ": not named like the first part of a split model",
                  "give the file whose name ends in -00001-of-NNNNN.gguf");
    }
    const auto more = read_model_header(files, next);
    if (!more) return fail(more.error());
    shape->weights_bytes += more->tensor_bytes;
    shape->parameters += more->parameters;
  }
  return shape;
}

}  // namespace llorch
