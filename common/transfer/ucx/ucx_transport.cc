#include "common/transfer/ucx/ucx_transport.h"

#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/protocol/peer_wire.h"

namespace tandem {
namespace {

// Messages of one connection that UCX has taken but not sent; a peer that stops reading ends there.
constexpr size_t kMaxMessagesInFlight = 1024;
// Connections, greeted ones included: bounds what strangers can make us keep.
constexpr size_t kMaxConnections = 4096;
// Progress calls in one Poll, so that commands are looked at in between.
constexpr int kProgressPerPoll = 32;
constexpr Duration kCloseWait = std::chrono::milliseconds(500);

bool IsInline(const ucp_am_recv_param_t* param) {
  return (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<UcxTransport>> UcxTransport::Create(UcxNetwork network) {
  ASSIGN_OR_RETURN(std::unique_ptr<UcxContext> context, UcxContext::Create(network));
  if (context->max_am_header() < sizeof(Key) + kMaxSegmentHeaderBytes / 2) {
    return absl::FailedPreconditionError(
        absl::StrCat("UCX carries headers of ", context->max_am_header(),
                     " bytes only on the transports chosen; set UCX_TLS"));
  }
  std::unique_ptr<UcxTransport> transport(new UcxTransport(std::move(context)));
  RETURN_IF_ERROR(transport->RegisterHandlers());
  return transport;
}

UcxTransport::UcxTransport(std::unique_ptr<UcxContext> context) : context_(std::move(context)) {}

UcxTransport::~UcxTransport() {
  while (!conns_.empty()) Close(conns_.begin()->first);
  const Instant deadline = SystemClock().Now() + kCloseWait;
  while ((!closing_.empty() || ops_in_flight_ > 0) && SystemClock().Now() < deadline) {
    ucp_worker_progress(context_->worker());
    FreeClosed();
  }
}

absl::Status UcxTransport::RegisterHandlers() {
  const auto add = [this](Kind kind, ucp_am_recv_callback_t callback) {
    ucp_am_handler_param_t param{};
    param.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG | UCP_AM_HANDLER_PARAM_FIELD_FLAGS;
    param.id = static_cast<unsigned>(kind);
    param.flags = UCP_AM_FLAG_WHOLE_MSG;
    param.cb = callback;
    param.arg = this;
    const ucs_status_t status = ucp_worker_set_am_recv_handler(context_->worker(), &param);
    return status == UCS_OK ? absl::OkStatus() : UcxError("setting a message handler", status);
  };
  RETURN_IF_ERROR(
      add(Kind::kGreeting, [](void* self, const void* header, size_t header_length, void* data,
                              size_t length, const ucp_am_recv_param_t* param) {
        return static_cast<UcxTransport*>(self)->HandleGreeting(header, header_length, data, length,
                                                                IsInline(param));
      }));
  RETURN_IF_ERROR(
      add(Kind::kControl, [](void* self, const void* header, size_t header_length, void* data,
                             size_t length, const ucp_am_recv_param_t* param) {
        return static_cast<UcxTransport*>(self)->HandleControl(header, header_length, data, length,
                                                               IsInline(param));
      }));
  RETURN_IF_ERROR(
      add(Kind::kSegment, [](void* self, const void* header, size_t header_length, void* data,
                             size_t length, const ucp_am_recv_param_t* param) {
        return static_cast<UcxTransport*>(self)->HandleSegment(header, header_length, data, length,
                                                               IsInline(param));
      }));
  return add(Kind::kGoodbye, [](void* self, const void* header, size_t header_length, void*, size_t,
                                const ucp_am_recv_param_t*) {
    return static_cast<UcxTransport*>(self)->HandleGoodbye(header, header_length);
  });
}

// ---- connections ----

UcxTransport::Conn& UcxTransport::NewConn(const Key& key) {
  auto conn = std::make_unique<Conn>();
  conn->transport = this;
  conn->id = ConnId(++last_conn_);
  conn->key = key;
  keys_[key] = conn->id;
  return *(conns_[conn->id] = std::move(conn));
}

absl::Status UcxTransport::OpenEndpoint(Conn* conn, absl::string_view peer_address) {
  ASSIGN_OR_RETURN(const absl::string_view address, OpenAddress(peer_address));
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.arg = conn;
  params.err_handler.cb = [](void* arg, ucp_ep_h, ucs_status_t status) {
    const auto* failed = static_cast<Conn*>(arg);
    failed->transport->notices_.push_back(
        {Notice::Kind::kDown, failed->id, ucs_status_string(status), {}, false});
  };
  const ucs_status_t status = ucp_ep_create(context_->worker(), &params, &conn->endpoint);
  if (status == UCS_OK) return absl::OkStatus();
  conn->endpoint = nullptr;
  return UcxError("creating an endpoint", status);
}

absl::StatusOr<ConnId> UcxTransport::Connect(absl::string_view peer_address,
                                             absl::string_view greeting) {
  if (peer_address == context_->address()) return absl::InvalidArgumentError("our own address");
  if (conns_.size() >= kMaxConnections) {
    return absl::ResourceExhaustedError("too many connections");
  }
  std::random_device random;
  Key key;
  for (char& byte : key) byte = static_cast<char>(random());
  Conn& conn = NewConn(key);
  const ConnId id = conn.id;
  absl::Status status = OpenEndpoint(&conn, peer_address);
  if (status.ok()) {
    auto op = std::make_unique<Op>();
    op->kind = Kind::kGreeting;
    op->body = std::string(greeting);
    status = Post(&conn, std::move(op), nullptr, 0);
  }
  if (status.ok()) return id;
  Close(id);
  return status;
}

absl::Status UcxTransport::Accept(ConnId id, absl::string_view reply_address) {
  const auto it = conns_.find(id);
  if (it == conns_.end()) return absl::UnavailableError("the peer is gone");
  if (reply_address == context_->address()) return absl::InvalidArgumentError("our own address");
  return OpenEndpoint(it->second.get(), reply_address);
}

void UcxTransport::Close(ConnId id) {
  const auto node = conns_.extract(id);
  if (node.empty()) return;
  std::unique_ptr<Conn> conn = std::move(node.mapped());
  keys_.erase(conn->key);
  if (conn->endpoint == nullptr) return;
  // Best effort: not every transport of UCX gives a peer that lives on another sign of the end.
  auto goodbye = std::make_unique<Op>();
  goodbye->kind = Kind::kGoodbye;
  (void)Post(conn.get(), std::move(goodbye), nullptr, 0);
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  void* request = ucp_ep_close_nbx(conn->endpoint, &param);
  conn->endpoint = nullptr;
  if (UCS_PTR_IS_PTR(request)) conn->close_request = request;
  closing_.push_back(std::move(conn));
}

void UcxTransport::FreeClosed() {
  std::erase_if(closing_, [](const std::unique_ptr<Conn>& conn) {
    if (conn->close_request == nullptr) return true;
    if (ucp_request_check_status(conn->close_request) == UCS_INPROGRESS) return false;
    ucp_request_free(conn->close_request);
    return true;
  });
}

std::string UcxTransport::DescribeLanes(ConnId id) const {
  const auto it = conns_.find(id);
  if (it == conns_.end() || it->second->endpoint == nullptr) return "none";
  std::array<ucp_transport_entry_t, 16> entries{};
  ucp_ep_attr_t attr{};
  attr.field_mask = UCP_EP_ATTR_FIELD_TRANSPORTS;
  attr.transports.entries = entries.data();
  attr.transports.num_entries = entries.size();
  attr.transports.entry_size = sizeof(ucp_transport_entry_t);
  if (ucp_ep_query(it->second->endpoint, &attr) != UCS_OK) return "unknown";
  std::string lanes;
  for (unsigned i = 0; i < attr.transports.num_entries; ++i) {
    absl::StrAppend(&lanes, i > 0 ? " " : "", entries[i].transport_name, "/",
                    entries[i].device_name);
  }
  return lanes;
}

// ---- sending ----

absl::StatusOr<UcxTransport::Conn*> UcxTransport::FindUsable(ConnId id) {
  const auto it = conns_.find(id);
  if (it == conns_.end() || it->second->endpoint == nullptr) {
    return absl::UnavailableError("the connection is gone");
  }
  return it->second.get();
}

absl::Status UcxTransport::SendControl(ConnId id, absl::string_view bytes) {
  ASSIGN_OR_RETURN(Conn * conn, FindUsable(id));
  if (conn->messages_in_flight >= kMaxMessagesInFlight) {
    return absl::ResourceExhaustedError("too many messages wait for the peer");
  }
  auto op = std::make_unique<Op>();
  op->kind = Kind::kControl;
  op->body = std::string(bytes);
  return Post(conn, std::move(op), nullptr, 0);
}

absl::Status UcxTransport::SendSegment(ConnId id, absl::string_view header,
                                       absl::Span<const std::byte> payload, SegmentToken token) {
  ASSIGN_OR_RETURN(Conn * conn, FindUsable(id));
  auto op = std::make_unique<Op>();
  op->kind = Kind::kSegment;
  op->token = token;
  op->header = std::string(header);
  return Post(conn, std::move(op), payload.data(), payload.size());
}

// Sends `data`, or the op's body when it has none.
absl::Status UcxTransport::Post(Conn* conn, std::unique_ptr<Op> op, const void* data, size_t size) {
  op->transport = this;
  op->conn = conn->id;
  op->header.insert(0, conn->key.data(), conn->key.size());
  const bool segment = op->kind == Kind::kSegment;
  if (!segment) {
    data = op->body.data();
    size = op->body.size();
  }
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = segment ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER;
  param.user_data = op.get();
  param.cb.send = [](void* request, ucs_status_t status, void* user_data) {
    auto* ended = static_cast<Op*>(user_data);
    ended->transport->EndOp(ended, status);
    ucp_request_free(request);
  };
  void* request = ucp_am_send_nbx(conn->endpoint, static_cast<unsigned>(op->kind),
                                  op->header.data(), op->header.size(), data, size, &param);
  if (UCS_PTR_IS_ERR(request)) return UcxError("sending", UCS_PTR_STATUS(request));
  ++ops_in_flight_;
  if (!segment) ++conn->messages_in_flight;
  Op* posted = op.release();
  if (request == nullptr) EndOp(posted, UCS_OK);
  return absl::OkStatus();
}

void UcxTransport::EndOp(Op* op, ucs_status_t status) {
  const std::unique_ptr<Op> owned(op);
  --ops_in_flight_;
  const bool ok = status == UCS_OK;
  if (op->receive) {
    notices_.push_back({Notice::Kind::kReceived, op->conn, {}, op->token, ok});
    return;
  }
  if (op->kind == Kind::kSegment) {
    notices_.push_back({Notice::Kind::kSent, op->conn, {}, op->token, ok});
    // The peer's answer to a segment of a connection that it has closed.
    if (status == UCS_ERR_CONNECTION_RESET) {
      notices_.push_back({Notice::Kind::kDown, op->conn, "the peer has closed it", {}, false});
    }
    return;
  }
  if (const auto it = conns_.find(op->conn); it != conns_.end()) --it->second->messages_in_flight;
}

// ---- arriving ----

UcxTransport::Conn* UcxTransport::FindByHeader(const void* header, size_t length) {
  Key key;
  if (length < key.size()) return nullptr;
  std::memcpy(key.data(), header, key.size());
  const auto it = keys_.find(key);
  return it == keys_.end() ? nullptr : conns_.at(it->second).get();
}

ucs_status_t UcxTransport::HandleGreeting(const void* header, size_t header_length,
                                          const void* data, size_t length, bool inline_data) {
  Key key;
  if (!inline_data || header_length != key.size() || length > kMaxPeerMessageBytes ||
      conns_.size() >= kMaxConnections || FindByHeader(header, header_length) != nullptr) {
    return inline_data ? UCS_OK : UCS_ERR_REJECTED;
  }
  std::memcpy(key.data(), header, key.size());
  const Conn& conn = NewConn(key);
  notices_.push_back({Notice::Kind::kGreeting,
                      conn.id,
                      std::string(static_cast<const char*>(data), length),
                      {},
                      true});
  return UCS_OK;
}

ucs_status_t UcxTransport::HandleControl(const void* header, size_t header_length, const void* data,
                                         size_t length, bool inline_data) {
  const Conn* conn = FindByHeader(header, header_length);
  if (!inline_data || conn == nullptr || length > kMaxPeerMessageBytes) {
    return inline_data ? UCS_OK : UCS_ERR_REJECTED;
  }
  notices_.push_back({Notice::Kind::kControl,
                      conn->id,
                      std::string(static_cast<const char*>(data), length),
                      {},
                      true});
  return UCS_OK;
}

ucs_status_t UcxTransport::HandleGoodbye(const void* header, size_t header_length) {
  if (const Conn* conn = FindByHeader(header, header_length)) {
    notices_.push_back({Notice::Kind::kDown, conn->id, "closed by the peer", {}, false});
  }
  return UCS_OK;
}

ucs_status_t UcxTransport::HandleSegment(const void* header, size_t header_length, void* data,
                                         size_t length, bool inline_data) {
  const Conn* conn = FindByHeader(header, header_length);
  if (conn == nullptr || sink_ == nullptr) return inline_data ? UCS_OK : UCS_ERR_CONNECTION_RESET;
  const absl::string_view theirs(static_cast<const char*>(header) + sizeof(Key),
                                 header_length - sizeof(Key));
  const std::optional<Placement> placement = sink_->OnSegmentArriving(conn->id, theirs, length);
  if (!placement.has_value()) return inline_data ? UCS_OK : UCS_ERR_REJECTED;
  auto op = std::make_unique<Op>();
  op->transport = this;
  op->kind = Kind::kSegment;
  op->receive = true;
  op->conn = conn->id;
  op->token = placement->token;
  ++ops_in_flight_;
  if (inline_data) {  // a sender that did not ask for rendezvous
    std::memcpy(placement->memory.data(), data, length);
    EndOp(op.release(), UCS_OK);
    return UCS_OK;
  }
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.user_data = op.get();
  param.cb.recv_am = [](void* request, ucs_status_t status, size_t, void* user_data) {
    auto* ended = static_cast<Op*>(user_data);
    ended->transport->EndOp(ended, status);
    ucp_request_free(request);
  };
  Op* posted = op.release();
  void* request =
      ucp_am_recv_data_nbx(context_->worker(), data, placement->memory.data(), length, &param);
  if (!UCS_PTR_IS_PTR(request)) EndOp(posted, UCS_PTR_RAW_STATUS(request));
  return UCS_INPROGRESS;
}

bool UcxTransport::Poll(TransportSink* sink) {
  sink_ = sink;
  bool moved = false;
  for (int i = 0; i < kProgressPerPoll && ucp_worker_progress(context_->worker()) != 0; ++i) {
    moved = true;
  }
  FreeClosed();
  for (const Notice& notice : std::exchange(notices_, {})) {
    moved = true;
    Tell(notice, sink);
  }
  sink_ = nullptr;
  return moved;
}

void UcxTransport::Tell(const Notice& notice, TransportSink* sink) {
  switch (notice.kind) {
    case Notice::Kind::kReceived:
      return sink->OnSegmentReceived(notice.conn, notice.token, notice.ok, {});
    case Notice::Kind::kSent:
      return sink->OnSegmentSent(notice.conn, notice.token, notice.ok);
    default:
      break;
  }
  if (!conns_.contains(notice.conn)) return;  // closed meanwhile
  switch (notice.kind) {
    case Notice::Kind::kGreeting:
      return sink->OnGreeting(notice.conn, notice.bytes);
    case Notice::Kind::kControl:
      return sink->OnControl(notice.conn, notice.bytes);
    case Notice::Kind::kDown:
      Close(notice.conn);
      return sink->OnConnectionDown(notice.conn, notice.bytes);
    default:
      return;
  }
}

bool UcxTransport::Arm() {
  return notices_.empty() && ucp_worker_arm(context_->worker()) == UCS_OK;
}

}  // namespace tandem
