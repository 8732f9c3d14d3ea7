//! Tables for filters.
