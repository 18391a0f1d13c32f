#include "common/protocol/peer_wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/protocol/peer_wire_samples.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// Equal bytes are equal messages: the encoding has one form for each.
TEST(PeerWire, EveryMessageSurvivesTheRoundTrip) {
  for (const PeerMessage& message : SamplePeerMessages()) {
    const std::string bytes = EncodePeerMessage(message);
    const absl::StatusOr<PeerMessage> decoded = DecodePeerMessage(bytes);
    ASSERT_TRUE(decoded.ok()) << PeerMessageName(message) << ": " << decoded.status();
    EXPECT_EQ(decoded->index(), message.index());
    EXPECT_EQ(EncodePeerMessage(*decoded), bytes) << PeerMessageName(message);
  }
}

TEST(PeerWire, FieldsArriveInTheirPlaces) {
  const Grant grant{{0x0102030405060708, 9}, GrantId(11), 5, {1, 2, 300}};
  const auto decoded = DecodePeerMessage(EncodePeerMessage(grant));
  ASSERT_TRUE(decoded.ok());
  const Grant& back = std::get<Grant>(*decoded);
  EXPECT_EQ(back.nonce, grant.nonce);
  EXPECT_EQ(back.grant, grant.grant);
  EXPECT_EQ(back.first_block, 5u);
  EXPECT_EQ(back.run_lengths, grant.run_lengths);
}

TEST(PeerWire, BytesAreLittleEndianAndFixed) {
  const std::string bytes = EncodePeerMessage(Offer{{1, 2}, Incarnation(3), 4});
  EXPECT_EQ(bytes, std::string("\x01\x03"
                               "\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"
                               "\x03\0\0\0\0\0\0\0"
                               "\x04\0\0\0",
                               30));
}

TEST(PeerWire, SegmentHeaderSurvivesTheRoundTrip) {
  const SegmentHeader header{GrantId(4), {1, 29, 100, 3}, {0xdeadbeef, 0, 7}};
  const auto decoded = DecodeSegmentHeader(EncodeSegmentHeader(header));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->grant, header.grant);
  EXPECT_EQ(decoded->segment, header.segment);
  EXPECT_EQ(decoded->block_crc32c, header.block_crc32c);
}

TEST(PeerWire, LargestMessagesFitTheirBounds) {
  Commit commit{GrantId(1), 0, 1,
                std::vector<SegmentId>(kMaxSegmentsPerCommit, SegmentId{0, 0, 0, 1})};
  EXPECT_TRUE(DecodePeerMessage(EncodePeerMessage(commit)).ok());
  Grant grant{{}, GrantId(1), 0, std::vector<uint32_t>(kMaxBlocksPerGrant, 1)};
  EXPECT_TRUE(DecodePeerMessage(EncodePeerMessage(grant)).ok());
  SegmentHeader header{
      GrantId(1), {0, 0, 0, kMaxBlocksPerSegment}, std::vector<uint32_t>(kMaxBlocksPerSegment)};
  EXPECT_TRUE(DecodeSegmentHeader(EncodeSegmentHeader(header)).ok());
}

TEST(PeerWire, EveryTruncationIsRefusedByName) {
  for (const PeerMessage& message : SamplePeerMessages()) {
    const std::string bytes = EncodePeerMessage(message);
    for (size_t size = 0; size < bytes.size(); ++size) {
      const auto decoded = DecodePeerMessage(absl::string_view(bytes).substr(0, size));
      ASSERT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument);
      if (size < 2) continue;
      EXPECT_THAT(decoded.status().message(), HasSubstr(PeerMessageName(message)));
    }
  }
}

TEST(PeerWire, BytesAfterTheEndAreRefused) {
  for (const PeerMessage& message : SamplePeerMessages()) {
    EXPECT_FALSE(DecodePeerMessage(EncodePeerMessage(message) + '\0').ok())
        << PeerMessageName(message);
  }
}

TEST(PeerWire, OtherVersionsAndKindsAreRefused) {
  std::string bytes = EncodePeerMessage(Abandon{});
  bytes[0] = 2;
  EXPECT_THAT(DecodePeerMessage(bytes).status().message(), HasSubstr("version 2"));
  bytes[0] = 1;
  bytes[1] = 64;  // a segment header's
  EXPECT_THAT(DecodePeerMessage(bytes).status().message(), HasSubstr("kind 64"));
  EXPECT_FALSE(DecodeSegmentHeader(EncodePeerMessage(Abandon{})).ok());
}

struct BadField {
  PeerMessage message;
  const char* field;
};

TEST(PeerWire, ValuesBeyondTheBoundsAreRefusedByName) {
  const std::vector<BadField> bad = {
      {Offer{{}, {}, kMaxBlocksPerGrant + 1}, "Offer: num_blocks"},
      {Grant{{}, {}, kMaxBlocksPerGrant + 1, {}}, "Grant: first_block"},
      {Grant{{}, {}, 0, {1, 0}}, "Grant: run_lengths has an empty run"},
      {Grant{{}, {}, 1, {kMaxBlocksPerGrant}}, "Grant: run_lengths sum"},
      {Grant{{}, {}, 0, {0xffffffff, 0xffffffff, 2}}, "Grant: run_lengths sum"},
      {Grant{{}, {}, 0, std::vector<uint32_t>(kMaxBlocksPerGrant + 1, 1)},
       "Grant: run_lengths has too many"},
      {Commit{{}, 0, 0, {}}, "Commit: num_blocks is zero"},
      {Commit{{}, 0xffffffff, 2, {}}, "Commit: num_blocks"},
      {Commit{{}, 0, 1, {{0, 0, 0, kMaxBlocksPerSegment + 1}}},
       "Commit: num_blocks is beyond the largest segment"},
      {CommitAck{
           {}, 0, 1, std::vector<SegmentId>(kMaxSegmentsPerCommit + 1, SegmentId{0, 0, 0, 1})},
       "CommitAck: bad"},
  };
  for (const BadField& b : bad) {
    const auto decoded = DecodePeerMessage(EncodePeerMessage(b.message));
    EXPECT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument) << b.field;
    EXPECT_THAT(decoded.status().message(), HasSubstr(b.field));
  }
  EXPECT_THAT(
      DecodeSegmentHeader(EncodeSegmentHeader({GrantId(1), {0, 0, 0, 2}, {1}})).status().message(),
      HasSubstr("SegmentHeader: block_crc32c"));
}

TEST(PeerWire, HugeCountsTakeNoMemory) {
  std::string bytes = EncodePeerMessage(Commit{GrantId(1), 0, 1, {}});
  for (size_t i = bytes.size() - 4; i < bytes.size(); ++i) bytes[i] = '\xff';
  EXPECT_THAT(DecodePeerMessage(bytes).status().message(), HasSubstr("segments has too many"));
  bytes = EncodePeerMessage(Abandon{{}, ""});
  bytes[bytes.size() - 1] = '\x7f';
  EXPECT_THAT(DecodePeerMessage(bytes).status().message(), HasSubstr("reason is too long"));
}

TEST(PeerWire, AddressesAsLongAsRoutersHandOnAreNotCut) {
  const PeerHello hello{{}, std::string(kMaxPeerAddressBytes, 'x')};
  const auto decoded = DecodePeerMessage(EncodePeerMessage(hello));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(std::get<PeerHello>(*decoded).reply_address, hello.reply_address);
}

TEST(PeerWire, LongTextsAreCut) {
  const auto decoded = DecodePeerMessage(EncodePeerMessage(Revoke{{}, std::string(10000, 'x')}));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(std::get<Revoke>(*decoded).reason.size(), kMaxPeerTextBytes);
}

}  // namespace
}  // namespace tandem
