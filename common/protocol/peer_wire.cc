#include "common/protocol/peer_wire.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "common/base/status_macros.h"

namespace tandem {
namespace {

constexpr uint8_t kEncodingVersion = 1;

// The kind byte. Values are part of the wire format: never reused.
enum Kind : uint8_t {
  kHello = 1,
  kHelloAck = 2,
  kOffer = 3,
  kGrant = 4,
  kOfferRefused = 5,
  kCommit = 6,
  kCommitAck = 7,
  kAbandon = 8,
  kRevoke = 9,
  kSegment = 64,
};

template <class T>
inline constexpr uint8_t kKindOf = 0;
template <>
inline constexpr uint8_t kKindOf<PeerHello> = kHello;
template <>
inline constexpr uint8_t kKindOf<PeerHelloAck> = kHelloAck;
template <>
inline constexpr uint8_t kKindOf<Offer> = kOffer;
template <>
inline constexpr uint8_t kKindOf<Grant> = kGrant;
template <>
inline constexpr uint8_t kKindOf<OfferRefused> = kOfferRefused;
template <>
inline constexpr uint8_t kKindOf<Commit> = kCommit;
template <>
inline constexpr uint8_t kKindOf<CommitAck> = kCommitAck;
template <>
inline constexpr uint8_t kKindOf<Abandon> = kAbandon;
template <>
inline constexpr uint8_t kKindOf<Revoke> = kRevoke;
template <>
inline constexpr uint8_t kKindOf<SegmentHeader> = kSegment;

// Encoder and Decoder offer the same calls, so that each struct's fields are listed once, in
// Fields() below.
class Encoder {
 public:
  explicit Encoder(uint8_t kind)
      : bytes_{static_cast<char>(kEncodingVersion), static_cast<char>(kind)} {}

  template <class T>
  requires std::is_unsigned_v<T>
  void Field(const char*, const T& value) {
    for (size_t i = 0; i < sizeof(T); ++i) bytes_.push_back(static_cast<char>(value >> (8 * i)));
  }
  void Text(const char* name, const std::string& text, uint32_t limit = kMaxPeerTextBytes) {
    const size_t size = std::min<size_t>(text.size(), limit);
    Field(name, static_cast<uint32_t>(size));
    bytes_.append(text, 0, size);
  }
  template <class T, class EachField>
  void List(const char* name, const std::vector<T>& values, uint32_t, size_t, EachField each) {
    Field(name, static_cast<uint32_t>(values.size()));
    for (const T& value : values) each(*this, value);
  }
  void Require(bool, const char*, const char*) {}
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// After the first error it reads nothing more and keeps the error.
class Decoder {
 public:
  Decoder(const char* message, absl::string_view bytes) : message_(message), rest_(bytes) {}

  template <class T>
  requires std::is_unsigned_v<T>
  void Field(const char* name, T& value) {
    if (!Have(name, sizeof(T))) return;
    value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      value = static_cast<T>(value | static_cast<T>(static_cast<uint8_t>(rest_[i])) << (8 * i));
    }
    rest_.remove_prefix(sizeof(T));
  }
  void Text(const char* name, std::string& text, uint32_t limit = kMaxPeerTextBytes) {
    uint32_t size = 0;
    Field(name, size);
    if (size > limit) return Fail(name, "is too long");
    if (!Have(name, size)) return;
    text.assign(rest_.data(), size);
    rest_.remove_prefix(size);
  }
  template <class T, class EachField>
  void List(const char* name, std::vector<T>& values, uint32_t limit, size_t element_bytes,
            EachField each) {
    uint32_t count = 0;
    Field(name, count);
    if (count > limit) return Fail(name, "has too many elements");
    if (!Have(name, count * element_bytes)) return;  // before memory is taken for them
    values.resize(count);
    for (T& value : values) each(*this, value);
  }
  void Require(bool condition, const char* name, const char* problem) {
    if (!condition) Fail(name, problem);
  }
  absl::Status Finish() {
    if (error_.ok() && !rest_.empty()) Fail("end", "is followed by more bytes");
    return error_;
  }

 private:
  bool Have(const char* name, size_t size) {
    if (error_.ok() && rest_.size() < size) Fail(name, "is cut off");
    return error_.ok();
  }
  void Fail(const char* name, const char* problem) {
    if (!error_.ok()) return;
    error_ = absl::InvalidArgumentError(absl::StrCat(message_, ": ", name, " ", problem));
  }

  const char* message_;
  absl::string_view rest_;
  absl::Status error_;
};

// A strong id travels as its integer.
template <class Codec, class Tag, class Rep>
void Id(Codec& codec, const char* name, StrongId<Tag, Rep>& id) {
  Rep value = 0;
  codec.Field(name, value);
  id = StrongId<Tag, Rep>(value);
}
template <class Tag, class Rep>
void Id(Encoder& codec, const char* name, const StrongId<Tag, Rep>& id) {
  codec.Field(name, id.value());
}

// `M` is the message, const when it is encoded.
template <class Codec, class M>
void NonceFields(Codec& codec, M& nonce) {
  codec.Field("nonce.high", nonce.high);
  codec.Field("nonce.low", nonce.low);
}

template <class Codec, class M>
void BlockRange(Codec& codec, M& m) {
  codec.Field("first_block", m.first_block);
  codec.Field("num_blocks", m.num_blocks);
  codec.Require(m.num_blocks > 0, "num_blocks", "is zero");
  codec.Require(
      m.first_block <= kMaxBlocksPerGrant && m.num_blocks <= kMaxBlocksPerGrant - m.first_block,
      "num_blocks", "is beyond the largest grant");
}

template <class Codec, class M>
void SegmentFields(Codec& codec, M& segment) {
  codec.Field("segment.shard", segment.shard);
  codec.Field("segment.layer", segment.layer);
  BlockRange(codec, segment);
  codec.Require(segment.num_blocks <= kMaxBlocksPerSegment, "num_blocks",
                "is beyond the largest segment");
}
constexpr size_t kSegmentIdBytes = 12;

template <class Codec, class M>
void SegmentList(Codec& codec, const char* name, M& segments) {
  codec.List(name, segments, kMaxSegmentsPerCommit, kSegmentIdBytes,
             [](auto& c, auto& segment) { SegmentFields(c, segment); });
}

template <class Codec, class M>
void HandshakeFields(Codec& codec, M& h) {
  codec.Field("wire_version", h.wire_version);
  codec.Field("oldest_wire_version", h.oldest_wire_version);
  Id(codec, "incarnation", h.incarnation);
  codec.Text("model_fingerprint", h.kv.model_fingerprint);
  codec.Text("numeric_profile", h.kv.numeric_profile);
  codec.Field("block_tokens", h.kv.block_tokens);
  codec.Field("num_layers", h.kv.num_layers);
  codec.Field("num_kv_heads", h.kv.num_kv_heads);
  codec.Field("head_dim", h.kv.head_dim);
  codec.Text("kv_type", h.kv.kv_type);
  codec.Text("layout", h.kv.layout);
  codec.Text("checksum", h.kv.checksum);
}

template <class Codec, class M>
void Fields(Codec& codec, M& m) {
  using T = std::remove_const_t<M>;
  if constexpr (std::is_same_v<T, PeerHello>) {
    HandshakeFields(codec, m.handshake);
    codec.Text("reply_address", m.reply_address, kMaxPeerAddressBytes);
  } else if constexpr (std::is_same_v<T, PeerHelloAck>) {
    HandshakeFields(codec, m.handshake);
    codec.Text("error", m.error);
  } else if constexpr (std::is_same_v<T, Offer>) {
    NonceFields(codec, m.nonce);
    Id(codec, "receiver", m.receiver);
    codec.Field("num_blocks", m.num_blocks);
    codec.Require(m.num_blocks <= kMaxBlocksPerGrant, "num_blocks", "is beyond the largest grant");
  } else if constexpr (std::is_same_v<T, Grant>) {
    NonceFields(codec, m.nonce);
    Id(codec, "grant", m.grant);
    codec.Field("first_block", m.first_block);
    codec.Require(m.first_block <= kMaxBlocksPerGrant, "first_block",
                  "is beyond the largest grant");
    codec.List("run_lengths", m.run_lengths, kMaxBlocksPerGrant, sizeof(uint32_t),
               [](auto& c, auto& length) { c.Field("run_lengths", length); });
    uint64_t blocks = m.first_block;
    for (const uint32_t length : m.run_lengths) {
      codec.Require(length > 0, "run_lengths", "has an empty run");
      blocks += length;
    }
    codec.Require(blocks <= kMaxBlocksPerGrant, "run_lengths", "sum is beyond the largest grant");
  } else if constexpr (std::is_same_v<T, Commit>) {
    Id(codec, "grant", m.grant);
    BlockRange(codec, m);
    SegmentList(codec, "segments", m.segments);
  } else if constexpr (std::is_same_v<T, CommitAck>) {
    Id(codec, "grant", m.grant);
    BlockRange(codec, m);
    SegmentList(codec, "bad", m.bad);
  } else if constexpr (std::is_same_v<T, SegmentHeader>) {
    Id(codec, "grant", m.grant);
    SegmentFields(codec, m.segment);
    codec.List("block_crc32c", m.block_crc32c, kMaxBlocksPerSegment, sizeof(uint32_t),
               [](auto& c, auto& crc) { c.Field("block_crc32c", crc); });
    codec.Require(m.block_crc32c.size() == m.segment.num_blocks, "block_crc32c",
                  "does not have one checksum per block");
  } else {  // OfferRefused, Abandon, Revoke
    NonceFields(codec, m.nonce);
    codec.Text("reason", m.reason);
  }
}

template <class M>
std::string Encode(const M& message) {
  Encoder encoder(kKindOf<M>);
  Fields(encoder, message);
  return encoder.Take();
}

template <class M>
absl::StatusOr<M> Decode(const char* name, absl::string_view fields) {
  M message{};
  Decoder decoder(name, fields);
  Fields(decoder, message);
  RETURN_IF_ERROR(decoder.Finish());
  return message;
}

// The kind byte after the version byte was checked.
absl::StatusOr<uint8_t> ReadPrefix(absl::string_view bytes, size_t max_bytes) {
  if (bytes.size() < 2) return absl::InvalidArgumentError("peer message: kind is cut off");
  if (bytes.size() > max_bytes) {
    return absl::InvalidArgumentError("peer message: end is beyond the largest message");
  }
  if (static_cast<uint8_t>(bytes[0]) != kEncodingVersion) {
    return absl::InvalidArgumentError(absl::StrCat(
        "peer message: version ", static_cast<uint8_t>(bytes[0]), " is not ", kEncodingVersion));
  }
  return static_cast<uint8_t>(bytes[1]);
}

// Tries the alternatives of PeerMessage in turn.
template <size_t kIndex = 0>
absl::StatusOr<PeerMessage> DecodeKind(uint8_t kind, absl::string_view fields) {
  if constexpr (kIndex == std::variant_size_v<PeerMessage>) {
    return absl::InvalidArgumentError(absl::StrCat("peer message: kind ", kind, " is unknown"));
  } else {
    using M = std::variant_alternative_t<kIndex, PeerMessage>;
    if (kind != kKindOf<M>) return DecodeKind<kIndex + 1>(kind, fields);
    ASSIGN_OR_RETURN(M message, Decode<M>(PeerMessageName(M{}), fields));
    return PeerMessage(std::move(message));
  }
}

}  // namespace

const char* PeerMessageName(const PeerMessage& message) {
  static constexpr const char* kNames[] = {"PeerHello", "PeerHelloAck", "Offer",
                                           "Grant",     "OfferRefused", "Commit",
                                           "CommitAck", "Abandon",      "Revoke"};
  static_assert(std::size(kNames) == std::variant_size_v<PeerMessage>);
  return kNames[message.index()];
}

std::string EncodePeerMessage(const PeerMessage& message) {
  return std::visit([](const auto& m) { return Encode(m); }, message);
}

std::string EncodeSegmentHeader(const SegmentHeader& header) { return Encode(header); }

absl::StatusOr<PeerMessage> DecodePeerMessage(absl::string_view bytes) {
  ASSIGN_OR_RETURN(const uint8_t kind, ReadPrefix(bytes, kMaxPeerMessageBytes));
  return DecodeKind(kind, bytes.substr(2));
}

absl::StatusOr<SegmentHeader> DecodeSegmentHeader(absl::string_view bytes) {
  ASSIGN_OR_RETURN(const uint8_t kind, ReadPrefix(bytes, kMaxSegmentHeaderBytes));
  if (kind != kSegment) return absl::InvalidArgumentError("SegmentHeader: kind is not a segment's");
  return Decode<SegmentHeader>("SegmentHeader", bytes.substr(2));
}

}  // namespace tandem
