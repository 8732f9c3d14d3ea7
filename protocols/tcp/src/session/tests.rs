//! One connection through a server, over loopback sockets.
