//! One mistake of a federation each, as observations, and the checks that do not pass then.

mod callers;
mod endpoints;
mod gateways;
mod objects;
mod services;
mod trust;
mod world;
