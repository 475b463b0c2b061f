internal import Glibc

/// Starts a detached thread, for what blocks: the threads that all tasks share are one for each core
/// and must not wait.
///
/// - Parameters:
///   - name: shown by `ps -L` and debuggers; Linux keeps 15 bytes.
///   - stackBytes: only the pages that are touched take memory; `nil` for the system's default.
///   - body: what it runs, once.
/// - Returns: `false` when the system has no thread to spare; then `body` is never run.
package func startThread(
    name: String, stackBytes: Int? = nil, _ body: @escaping @Sendable () -> Void
) -> Bool {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
    if let stackBytes { pthread_attr_setstacksize(&attributes, stackBytes) }
    var thread = pthread_t()
    let start = Unmanaged.passRetained(ThreadStart(name: name, body: body))
    let status = pthread_create(
        &thread, &attributes,
        { argument in
            // The retain made for this thread is taken over here, once.
            guard let argument else { return nil }
            let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
            nameThisThread(start.name)
            start.body()
            return nil
        }, start.toOpaque())
    if status != 0 { start.release() }
    return status == 0
}

/// What a thread is given on its way.
private final class ThreadStart: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

/// Swift sees neither `prctl` nor `pthread_setname_np`.
private func nameThisThread(_ name: String) {
    let descriptor = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    let bytes = Array(name.utf8.prefix(15))
    _ = write(descriptor, bytes, bytes.count)
    close(descriptor)
}
