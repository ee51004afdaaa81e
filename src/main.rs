//! The `keydesk` program.

fn main() -> std::process::ExitCode {
    keydesk::cli::run()
}
