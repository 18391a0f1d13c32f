// Prints what this machine can reach at best, as one line of JSON: reading memory with one and two
// threads, copying memory that no cache holds, int8 products
// in registers, a TCP stream over the loopback out of and into 72 MiB. Best of several rounds: a
// ceiling is what was reached once, other programs only lower it. usage: machine_ceilings
// SECONDS_EACH
#include <arpa/inet.h>
#include <immintrin.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <span>
#include <thread>
#include <vector>

namespace tandem::bench {
namespace {

constexpr size_t kReadBytes = size_t{1} << 30;  // all threads together; more than the caches hold
constexpr size_t kCopyBytes = size_t{256} << 20;
constexpr size_t kStreamBytes = size_t{72} << 20;  // what a push that is measured walks through
constexpr int kProductLoops = 1 << 20;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Best of the rates, in units of 1e9, that `round` reaches within `span_s`; at least one round.
// `round` runs on `threads` threads at once and returns what one of them did.
double BestRate(double span_s, int threads, const std::function<double(int thread)>& round) {
  double best = 0;
  const double end = Now() + span_s;
  do {
    std::atomic<int> ready = 0;
    std::atomic<double> work = 0;
    std::vector<double> starts(threads), ends(threads);
    std::vector<std::thread> team;
    for (int t = 0; t < threads; ++t) {
      team.emplace_back([&, t] {
        for (++ready; ready < threads;) {
        }
        starts[t] = Now();
        work += round(t);
        ends[t] = Now();
      });
    }
    for (std::thread& thread : team) thread.join();
    const double seconds = *std::max_element(ends.begin(), ends.end()) -
                           *std::min_element(starts.begin(), starts.end());
    best = std::max(best, work / seconds / 1e9);
  } while (Now() < end);
  return best;
}

volatile uint64_t sink;

__attribute__((target("avx2"))) void ReadAll(const std::byte* data, size_t bytes) {
  __m256i sum[4] = {};
  for (size_t i = 0; i + 128 <= bytes; i += 128) {
    for (int k = 0; k < 4; ++k) {
      const auto* at = reinterpret_cast<const __m256i*>(data + i + 32 * k);
      sum[k] = _mm256_add_epi64(sum[k], _mm256_load_si256(at));
    }
  }
  const __m256i all =
      _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  sink = _mm256_extract_epi64(all, 0);
}

// 8 independent accumulators hide the latency; each loop step is 8 x 64 operations.
__attribute__((target("avx2"))) double ProductsAvx2() {
  __m256i sum[8] = {};
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  const __m256i ones = _mm256_set1_epi16(1);
  for (int i = 0; i < kProductLoops; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));  // or the products would be taken out of the loop
    for (auto& s : sum)
      s = _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
    asm volatile(""
                 : "+x"(sum[0]), "+x"(sum[1]), "+x"(sum[2]), "+x"(sum[3]), "+x"(sum[4]),
                   "+x"(sum[5]), "+x"(sum[6]), "+x"(sum[7]));
  }
  return 8.0 * 64 * kProductLoops;
}

__attribute__((target("avx512f,avx512vnni"))) double ProductsVnni() {
  __m512i sum[8] = {};
  __m512i a = _mm512_set1_epi32(0x03030303), b = _mm512_set1_epi32(0x05050505);
  for (int i = 0; i < kProductLoops; ++i) {
    for (auto& s : sum) s = _mm512_dpbusd_epi32(s, a, b);
    asm volatile(""
                 : "+v"(sum[0]), "+v"(sum[1]), "+v"(sum[2]), "+v"(sum[3]), "+v"(sum[4]),
                   "+v"(sum[5]), "+v"(sum[6]), "+v"(sum[7]));
  }
  return 8.0 * 128 * kProductLoops;
}

struct StreamSetting {
  size_t write_bytes;
  int buffer_bytes;  // of the sockets; 0: what the kernel finds fit
};

// Reads of 256 KiB were never worse than longer ones. Writes of 64 KiB and less were half as fast.
constexpr size_t kStreamRead = size_t{256} << 10;
constexpr StreamSetting kStreamSettings[] = {
    {184320, 0}, {184320, 1 << 20}, {184320, 4 << 20}, {786432, 0}, {786432, 1 << 20}};

// Whether a call on a socket that does not block has only to be made again.
bool Again(ssize_t done) { return done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK); }

// Sends `source` over and over until the end of `span_s`. `wait`: 0, a call that cannot go on
// sleeps; or MSG_DONTWAIT, it is made again.
void SendStream(const sockaddr_in& to, StreamSetting setting, int wait,
                std::span<const std::byte> source, double span_s) {
  const int out = socket(AF_INET, SOCK_STREAM, 0);
  if (setting.buffer_bytes > 0) {
    setsockopt(out, SOL_SOCKET, SO_SNDBUF, &setting.buffer_bytes, sizeof setting.buffer_bytes);
  }
  if (connect(out, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) {
    size_t at = 0;
    for (const double end = Now() + span_s; Now() < end;) {
      const ssize_t sent = send(out, source.data() + at, setting.write_bytes, MSG_NOSIGNAL | wait);
      if (sent < 0 && !Again(sent)) break;
      at += std::max<ssize_t>(sent, 0);
      if (at + setting.write_bytes > source.size()) at = 0;
    }
  }
  close(out);
}

// GB/s from `source` into `sink`, both larger than what a stream keeps in the nearer caches.
double StreamRate(StreamSetting setting, int wait, std::span<const std::byte> source,
                  std::span<std::byte> sink, double span_s) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (setting.buffer_bytes > 0) {  // the accepted socket inherits it
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &setting.buffer_bytes, sizeof setting.buffer_bytes);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listener, 1) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return 0;
  }
  std::thread sender([&] { SendStream(address, setting, wait, source, span_s); });
  const int in = accept(listener, nullptr, nullptr);
  double bytes = 0;
  size_t at = 0;
  const double start = Now();
  for (ssize_t n; (n = recv(in, sink.data() + at, kStreamRead, wait)) > 0 || Again(n);) {
    if (n < 0) continue;
    bytes += n;
    at += n;
    if (at + kStreamRead > sink.size()) at = 0;
  }
  const double rate = bytes / (Now() - start) / 1e9;
  sender.join();
  close(in);
  close(listener);
  return rate;
}

// The best of all settings, each tried twice within `span_s` together.
double BestStreamRate(int wait, std::span<const std::byte> source, std::span<std::byte> sink,
                      double span_s) {
  constexpr int kTries = 2;
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    for (const StreamSetting& setting : kStreamSettings) {
      const double span = span_s / kTries / std::size(kStreamSettings);
      best = std::max(best, StreamRate(setting, wait, source, sink, span));
    }
  }
  return best;
}

int Run(double span_s) {
  if (!__builtin_cpu_supports("avx2")) return std::fprintf(stderr, "this needs AVX2\n"), 1;
  auto* data = static_cast<std::byte*>(std::aligned_alloc(size_t{2} << 20, kReadBytes));
  if (data == nullptr) return std::fprintf(stderr, "no memory\n"), 1;
  madvise(data, kReadBytes, MADV_HUGEPAGE);  // as the memory that is measured beside it
  std::memset(data, 1, kReadBytes);
  const auto read = [&](int threads) {
    return BestRate(span_s, threads, [&, threads](int t) {
      const size_t part = kReadBytes / threads;
      ReadAll(data + t * part, part);
      return static_cast<double>(part);
    });
  };
  const double read_1 = read(1), read_2 = read(2);
  size_t at = 0;  // each round copies other memory: nothing of it is in a cache
  const double copy = BestRate(span_s, 1, [&](int) {
    std::byte* from = data + at;
    at = (at + kCopyBytes) % kReadBytes;
    std::memcpy(data + at, from, kCopyBytes);
    return static_cast<double>(kCopyBytes);
  });
  const bool vnni = __builtin_cpu_supports("avx512vnni");
  const auto products = [&](int threads) {
    return BestRate(span_s, threads, [&](int) { return vnni ? ProductsVnni() : ProductsAvx2(); });
  };
  const double int8_1 = products(1), int8_2 = products(2);
  // Waking each other costs two processes that sleep more than half of what spinning ones reach.
  const auto stream = [&](int wait) {
    return BestStreamRate(wait, {data, kStreamBytes}, {data + kStreamBytes, kStreamBytes}, span_s);
  };
  const double tcp = stream(0), tcp_spinning = stream(MSG_DONTWAIT);
  std::printf(
      "{\"read_1\": %.2f, \"read_2\": %.2f, \"memcpy_cold\": %.2f, "
      "\"int8_1\": %.1f, \"int8_2\": %.1f, \"int8_by\": \"%s\", \"tcp\": %.2f, "
      "\"tcp_spinning\": %.2f}\n",
      read_1, read_2, copy, int8_1, int8_2, vnni ? "AVX-512 VNNI" : "AVX2", tcp, tcp_spinning);
  std::free(data);
  return 0;
}

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) { return tandem::bench::Run(argc > 1 ? std::atof(argv[1]) : 1); }
