//! Tables for routes.
