//! Policies as clients see them: at one gateway and at a pair, in every protocol that they concern.

mod authenticate;
mod authorize;
mod credentials;
mod edge;
mod forwarding;
mod shaping;

/// Routes that send every call to the demo service of its protocol.
const CATCH_ALL: &str = "
[[routes]]
match = { path_prefix = '/', protocol = 'grpc' }
to = 'demo-grpc@@'
[[routes]]
match = { path_prefix = '/', protocol = 'websocket' }
to = 'demo-websocket@@'
[[routes]]
match = { path_prefix = '/', protocol = 'http' }
to = 'demo-http@@'
";
