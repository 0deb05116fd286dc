//! The `verdict` program. All it does is in `verdict::cli`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    verdict::cli::main()
}
