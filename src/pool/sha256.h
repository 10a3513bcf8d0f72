// SHA-256 over bytes as they come. Threads: one owner. Source: FIPS 180-4 through OpenSSL.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace llorch {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void add(std::span<const std::byte> bytes);
  // 64 lower-case hexadecimal digits of all bytes so far; starts anew afterwards.
  std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace llorch
