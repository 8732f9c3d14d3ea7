//! Tables for access logs.
