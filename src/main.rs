//! The `keydesk` command.

fn main() -> std::process::ExitCode {
    keydesk::cli::run()
}
