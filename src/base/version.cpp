#include "base/version.h"

namespace llorch {

std::string_view version() {
  return LLORCH_VERSION;
}

}  // namespace llorch
