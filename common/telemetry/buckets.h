// Histogram bounds that several metrics share. Seconds unless the name says otherwise. Each latency
// list contains the bounds that other servers in the same fleet use, so that sums by bound stay
// valid.
#pragma once

#include <vector>

namespace tandem {

inline const std::vector<double> kLatencyBounds = {
    .0005, .001, .002, .004, .006, .008, .01, .015, .02, .025, .03, .04, .05, .075, .1,
    .15,   .2,   .3,   .4,   .5,   .75,  1,   2.5,  5,   7.5,  10,  20,  40,  80};
inline const std::vector<double> kFirstTokenBounds = {
    .001, .0025, .005, .01, .015, .02, .03, .04, .06, .08, .1,  .15, .25,
    .5,   .75,   1,    2.5, 5,    7.5, 10,  20,  40,  80,  160, 640, 2560};
inline const std::vector<double> kRequestBounds = {.05, .1,  .2,  .3,  .5,  .8,  1,    1.5,
                                                   2,   2.5, 5,   10,  15,  20,  30,   40,
                                                   50,  60,  120, 240, 480, 960, 1920, 7680};
inline const std::vector<double> kCancelBounds = {.0001, .0005, .001, .0025, .005, .01, .025, .05,
                                                  .1,    .15,   .2,   .25,   .5,   1,   2.5,  10};
inline const std::vector<double> kSequenceCountBounds = {1,  2,   4,   8,   16,  32,
                                                         64, 128, 256, 512, 1024};
inline const std::vector<double> kTokenCountBounds = {1,   8,    16,   32,   64,   128,  256,
                                                      512, 1024, 2048, 4096, 8192, 16384};

}  // namespace tandem
