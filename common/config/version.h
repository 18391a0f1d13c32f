// The version of this build, from the project's CMakeLists.txt.
#pragma once

namespace tandem {

inline constexpr char kVersion[] = TANDEM_VERSION;

}  // namespace tandem
