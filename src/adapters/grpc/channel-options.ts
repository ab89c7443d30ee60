/**
 * Settings of every gRPC connection of ours, both sides, each with its reason. Defaults of grpc-js are for request/response services
 * on the open internet; ours are few long-lived connections inside one cluster.
 */
import { type ChannelOptions, logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import { MAX_MESSAGE_BYTES, MIB } from '../../base/limits.ts';

/** What grpc-js has to say reaches us as errors of calls; on stderr it would only stand between the lines of our own log. */
setLogVerbosity(logVerbosity.NONE);

/** Messages stay below MAX_MESSAGE_BYTES; the room above is for a manifest that grew large, refused by its owner long before. */
const MAX_WIRE_MESSAGE_BYTES = 4 * MAX_MESSAGE_BYTES;

const COMMON: ChannelOptions = {
  'grpc.max_send_message_length': MAX_WIRE_MESSAGE_BYTES,
  'grpc.max_receive_message_length': MAX_WIRE_MESSAGE_BYTES,
  // HTTP/2's default window of 64 KiB would stall a 256 KiB page batch four times.
  'grpc-node.flow_control_window': 4 * MIB,
  // MiB, of one HTTP/2 session: above what is ever queued per node (MAX_UNACKED_BYTES_PER_NODE), else streams are refused.
  'grpc-node.max_session_memory': 128,
  // A peer that vanished without a FIN (cut cable, frozen machine) is found out within five seconds (heartbeats notice sooner).
  'grpc.keepalive_time_ms': 2_000,
  'grpc.keepalive_timeout_ms': 3_000,
};

/** Channelz stays on here although nobody reads it: without it, grpc-js 1.14 forgets its sessions and forceShutdown leaves them open. */
export const SERVER_OPTIONS: ChannelOptions = { ...COMMON };

export const CLIENT_OPTIONS: ChannelOptions = {
  ...COMMON,
  'grpc.keepalive_permit_without_calls': 1,
  // Costs memory and time per call, and nobody reads it.
  'grpc.enable_channelz': 0,
  // A call is retried, or not, by whoever knows whether that is safe: never underneath them.
  'grpc.enable_retries': 0,
  // A node that comes back is found at once at first, then once a second.
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 1_000,
  // A container that was restarted has another address behind the same name.
  'grpc.dns_min_time_between_resolutions_ms': 1_000,
  'grpc.service_config_disable_resolution': 1,
  // HTTP proxies of the environment are not for traffic inside the cluster.
  'grpc.enable_http_proxy': 0,
  // Two connections to one address must not share a socket: pages must not hold up acknowledgements.
  'grpc.use_local_subchannel_pool': 1,
};
