// How long a thread may run while others wait for its core. Where threads that compute without a
// pause share cores with those that are woken for a moment, the kernel lets the former finish their
// slice (about 3 ms) before a woken one runs; one whose own slice is shorter runs at once (Linux
// 6.12, Documentation/scheduler/sched-eevdf.rst). Of the calling thread, and inherited by the
// threads that it starts. A wish: without effect on older kernels and outside the normal policy.
#pragma once

namespace tandem {

// For threads that mostly wait: messages, sockets, timers.
void AskForShortSlices();
// For threads that compute.
void AskForDefaultSlices();

}  // namespace tandem
