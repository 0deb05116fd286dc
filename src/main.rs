//! The `verdict` program. All it does is in `verdict::cli`.
#![forbid(unsafe_code)]

// Many small, short-lived buffers across threads: the system's allocator costs more per message.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    verdict::cli::main()
}
