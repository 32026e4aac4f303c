pub mod cli;
pub mod config;
pub mod drain;
pub mod metrics;
pub mod outcome;
pub mod route;
pub mod server_name;
pub mod upstream;
