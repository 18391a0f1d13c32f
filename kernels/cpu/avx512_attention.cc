#include "kernels/cpu/attention_loops.h"
#include "kernels/cpu/vector16.h"

namespace tandem::avx512 {

// Six queries with four sums each leave 8 of 32 registers for what they are multiplied with.
void AttendSplit(const AttentionTile& tile, int split, const KeysAhead& next, float* scratch,
                 float* states) {
  AttendSplitBy<Vector16, 6>(tile, split, next, scratch, states);
}

}  // namespace tandem::avx512
