//! What is asked of endpoints: connections that requests share.
