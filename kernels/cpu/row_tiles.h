// Cuts a range of rows into tiles whose size is known to the compiler.
//
// Everything is in an unnamed namespace: the header is compiled for several instruction sets, and
// the linker must not merge those copies.
#pragma once

namespace tandem {
namespace {

template <int kRows>
struct TileSize {
  static constexpr int value = kRows;
};

template <int kMost, class Tile>
inline void ForLastTile(int rows, int row, Tile& tile) {
  if constexpr (kMost > 0) {
    if (rows == kMost) return tile(TileSize<kMost>(), row);
    ForLastTile<kMost - 1>(rows, row, tile);
  }
}

// Calls tile(TileSize<n>(), row) for tiles of n <= kMost rows that cover [begin, end).
template <int kMost, class Tile>
inline void ForEachTile(int begin, int end, Tile tile) {
  int row = begin;
  for (; row + kMost <= end; row += kMost) tile(TileSize<kMost>(), row);
  ForLastTile<kMost - 1>(end - row, row, tile);
}

}  // namespace
}  // namespace tandem
