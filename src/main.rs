//! The binary is a call; everything is in the library.

fn main() -> std::process::ExitCode {
    nauthilus_neural::cli::main()
}
