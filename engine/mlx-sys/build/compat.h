// mlx-c prints with std::format, which libstdc++ has only since version 13.
#pragma once
#include <version>
#if !defined(__cpp_lib_format)
#include <sstream>
#include <string>
#include <string_view>
namespace std {
inline void verbatim_format_into(ostringstream& out, string_view pattern) {
  out << pattern;
}
template <typename First, typename... Rest>
void verbatim_format_into(ostringstream& out, string_view pattern, const First& first, const Rest&... rest) {
  const auto hole = pattern.find("{}");
  out << pattern.substr(0, hole);
  if (hole == string_view::npos) return;
  out << first;
  verbatim_format_into(out, pattern.substr(hole + 2), rest...);
}
template <typename... Args>
string format(string_view pattern, const Args&... args) {
  ostringstream out;
  verbatim_format_into(out, pattern, args...);
  return out.str();
}
} // namespace std
#else
#include <format>
#endif
