import Foundation

/// Sends a signal to the thread that receives them. A test process has threads older than the call that
/// blocks the signals, so the process as a whole cannot be used.
func signalReceiver(_ number: Int32) async {
    while true {
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
        for task in tasks {
            let comm = try? String(contentsOfFile: "/proc/self/task/\(task)/comm", encoding: .utf8)
            guard comm == "signals\n", let thread = Int(task) else { continue }
            // Glibc's module does not show tgkill.
            typealias Kill = @convention(c) (pid_t, pid_t, CInt) -> CInt
            if let symbol = dlsym(nil, "tgkill") {
                _ = unsafeBitCast(symbol, to: Kill.self)(getpid(), pid_t(thread), number)
            }
            return
        }
        try? await Task.sleep(for: .milliseconds(5))
    }
}
