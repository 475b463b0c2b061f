internal import CNATS
internal import Glibc
internal import Synchronization
internal import Threads

/// Reads and writes for one connection whose writes are `.batched`.
///
/// cnats either sends each message with a system call of its own or keeps it back for up to 1 ms.
/// With an event loop of the application it does neither: what is published is collected, and the
/// application says when it goes. Here the thread that published sends it itself, at once when it
/// is a single message, or together with others at the end of a batch; the loop's own thread
/// reads, calls the handlers of what it has read (`Polled`), and sends what cnats wants to say by
/// itself or what the socket did not take.
///
/// cnats calls `attach`, `read` and `write` with its lock held, so they only set flags.
final class WriteLoop: Sendable {
    /// What may wait for a server that does not read, in bytes; beyond it nothing more is taken.
    static let backlogLimit: CInt = 8 << 20

    /// cnats' connection, from `attach` on.
    private let handle = Atomic<UInt>(0)
    private let socket = Atomic<CInt>(-1)
    private let reads = Atomic<Bool>(false)
    /// cnats has something to send.
    private let wantsWrite = Atomic<Bool>(false)
    /// The loop's thread is to send it.
    private let armed = Atomic<Bool>(false)
    /// More waits than `backlogLimit`.
    private let congested = Atomic<Bool>(false)
    private let detached = Atomic<Bool>(false)
    /// How often something was handed to the socket.
    let writeCount = Atomic<Int>(0)
    /// The two ends of a pipe: a byte in it makes the thread look at the flags.
    private let wakeup: (read: CInt, write: CInt)
    private let thread = Atomic<UInt>(0)
    /// Held by the loop's thread while it is inside cnats. Taken before `sender`.
    private let inside = Mutex(())
    /// Subscriptions that the loop's thread has still to take over; `nil` once it has ended.
    private let arriving = Mutex<[Polled.Order]?>([])
    /// Held while writing to the socket.
    private let sender = Mutex(())
    /// For the messages of its connection.
    let bin = MessageBin()

    /// - Throws: `library` when the system has no descriptor to spare.
    init() throws(BusError) {
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else {
            throw BusError(.library(0), "event loop: \(String(cString: strerror(errno)))")
        }
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        wakeup = (ends[0], ends[1])
    }

    deinit {
        close(wakeup.read)
        close(wakeup.write)
    }

    /// Makes cnats use this loop. It must outlive every connection made with the options.
    func attach(to options: OpaquePointer) -> natsStatus {
        natsOptions_SetEventLoop(
            options, Unmanaged.passUnretained(self).toOpaque(),
            { userData, loop, connection, socket in
                guard let loop, let connection else { return NATS_INVALID_ARG }
                userData?.pointee = loop
                return WriteLoop.from(loop).attached(connection, socket)
            },
            { loop, add in
                guard let loop else { return NATS_INVALID_ARG }
                return WriteLoop.from(loop).setReads(add)
            },
            { loop, add in
                guard let loop else { return NATS_INVALID_ARG }
                return WriteLoop.from(loop).setWrites(add)
            },
            { loop in
                guard let loop else { return NATS_INVALID_ARG }
                return WriteLoop.from(loop).detach()
            })
    }

    private static func from(_ pointer: UnsafeMutableRawPointer) -> WriteLoop {
        Unmanaged<WriteLoop>.fromOpaque(pointer).takeUnretainedValue()
    }

    /// Once for the first connection, and again after each reconnection.
    private func attached(_ connection: OpaquePointer, _ descriptor: CInt) -> natsStatus {
        let first = handle.exchange(UInt(bitPattern: connection), ordering: .acquiringAndReleasing)
        socket.store(descriptor, ordering: .releasing)
        reads.store(true, ordering: .releasing)
        guard first == 0 else {
            wake()
            return NATS_OK
        }
        return BusThread.start("nats-write", { [self] in run() }) ? NATS_OK : NATS_SYS_ERROR
    }

    private func setReads(_ add: Bool) -> natsStatus {
        reads.store(add, ordering: .releasing)
        wake()
        return NATS_OK
    }

    private func setWrites(_ add: Bool) -> natsStatus {
        wantsWrite.store(add, ordering: .releasing)
        if !add {
            armed.store(false, ordering: .releasing)
            congested.store(false, ordering: .relaxed)
        } else if !isSending {
            arm()
        }
        return NATS_OK
    }

    /// After this the loop does not touch the connection any more.
    private func detach() -> natsStatus {
        detached.store(true, ordering: .sequentiallyConsistent)
        wake()
        if thread.load(ordering: .acquiring) != UInt(pthread_self()) { inside.withLock { _ in } }
        return NATS_OK
    }

    private func arm() {
        armed.store(true, ordering: .sequentiallyConsistent)
        wake()
    }

    /// Makes the thread look at the flags, and at its subscriptions.
    func wake() {
        // A full pipe wakes as well.
        var byte: UInt8 = 1
        _ = write(wakeup.write, &byte, 1)
    }

    /// Lets the loop's thread ask for a subscription's messages. Not when it has ended.
    func poll(_ subscription: Polled.Order) -> Bool {
        let isTaken = arriving.withLock { arriving in
            guard arriving != nil else { return false }
            arriving?.append(subscription)
            return true
        }
        if isTaken { wake() }
        return isTaken
    }

    private func run() {
        thread.store(UInt(pthread_self()), ordering: .releasing)
        var polled: [Polled] = []
        var hasRead = false
        while !detached.load(ordering: .sequentiallyConsistent) {
            hasRead = readAndWrite(until: attend(to: &polled, isQuiet: !hasRead))
        }
        polled += takeArriving(isLast: true).map(Polled.init)
        for subscription in polled { subscription.finish() }
    }

    private func takeArriving(isLast: Bool) -> [Polled.Order] {
        arriving.withLock { arriving in
            defer { arriving = isLast ? nil : [] }
            return arriving ?? []
        }
    }

    /// Calls the handlers of what was read; says when to do it again at the latest. Nothing is overdue
    /// before there is nothing more to read: it may be waiting in the socket.
    private func attend(to polled: inout [Polled], isQuiet: Bool) -> UInt64? {
        polled += takeArriving(isLast: false).map(Polled.init)
        var next: UInt64?
        polled.removeAll { subscription in
            guard subscription.drain(self) else {
                subscription.finish()
                return true
            }
            if let at = subscription.idle(isQuiet: isQuiet) { next = min(next ?? at, at) }
            return false
        }
        return next
    }

    /// Waits for the socket and serves it; says whether there was something to read.
    private func readAndWrite(until deadline: UInt64?) -> Bool {
        // Rounded up: not to look again and again within a millisecond.
        let limit =
            deadline.map { at in
                CInt(clamping: (at - min(at, MonotonicClock.now) + 999_999) / 1_000_000)
            } ?? -1
        // A socket that is not to be read is left out: it would report its end for ever.
        let reading = reads.load(ordering: .acquiring)
        let writing = armed.load(ordering: .sequentiallyConsistent)
        let descriptor = reading || writing ? socket.load(ordering: .acquiring) : -1
        let wanted = (reading ? POLLIN : 0) | (writing ? POLLOUT : 0)
        var polled = (
            pollfd(fd: descriptor, events: CShort(wanted), revents: 0),
            pollfd(fd: wakeup.read, events: CShort(POLLIN), revents: 0)
        )
        let ready = withUnsafeMutablePointer(to: &polled) {
            $0.withMemoryRebound(to: pollfd.self, capacity: 2) { Glibc.poll($0, 2, limit) }
        }
        guard ready > 0 else { return false }
        if polled.1.revents != 0 {
            var bytes: UInt64 = 0
            _ = Glibc.read(wakeup.read, &bytes, 8)
        }
        let events = CInt(polled.0.revents)
        serve(events)
        return events & ~POLLOUT != 0
    }

    private func serve(_ events: CInt) {
        guard events != 0 else { return }
        inside.withLock { _ in
            guard !detached.load(ordering: .sequentiallyConsistent),
                let connection = OpaquePointer(bitPattern: handle.load(ordering: .acquiring))
            else { return }
            if events & ~POLLOUT != 0 {
                // What cnats answers by itself, such as a PONG, goes right after.
                sending { natsConnection_ProcessReadEvent(connection) }
                flush(connection)
            }
            if events & POLLOUT != 0 { flush(connection) }
        }
    }

    // MARK: The threads that publish

    /// The loop for which the calling thread collects messages.
    private static let current: pthread_key_t = {
        var key = pthread_key_t()
        guard pthread_key_create(&key, nil) == 0 else { fatalError("no thread-local storage left") }
        return key
    }()

    private var isSending: Bool {
        pthread_getspecific(Self.current) == Unmanaged.passUnretained(self).toOpaque()
    }

    /// Runs `body` so that what it publishes waits for `flush`. Returns whether it did so already.
    @discardableResult
    private func sending<E: Error>(_ body: () throws(E) -> Void) throws(E) -> Bool {
        let previous = pthread_getspecific(Self.current)
        let own = Unmanaged.passUnretained(self).toOpaque()
        guard previous != own else {
            try body()
            return true
        }
        pthread_setspecific(Self.current, own)
        defer { pthread_setspecific(Self.current, previous) }
        try body()
        return false
    }

    /// One message: sent at once, or at the end of the batch the thread is in.
    func send(_ connection: OpaquePointer, _ publish: () -> natsStatus) -> natsStatus {
        if congested.load(ordering: .relaxed) {
            flush(connection)
            if congested.load(ordering: .relaxed) { return NATS_INSUFFICIENT_BUFFER }
        }
        var status = NATS_OK
        let inBatch = sending { status = publish() }
        if !inBatch { flush(connection) }
        return status
    }

    /// A batch: what `body` publishes leaves together when it returns. Inside another, with that.
    func batch<E: Error>(_ connection: OpaquePointer, _ body: () throws(E) -> Void) throws(E) {
        var failure: E?
        let inBatch = sending {
            do throws(E) { try body() } catch { failure = error }
        }
        if !inBatch { flush(connection) }
        if let failure { throw failure }
    }

    /// As `batch`, but leaves the sending to a later `flush`.
    func collect(_ body: () -> Void) { sending(body) }

    /// Sends what waits. What the socket does not take is left to the loop's thread.
    func flush(_ connection: OpaquePointer) {
        guard wantsWrite.load(ordering: .acquiring) else { return }
        sender.withLock { _ in
            // Another thread may have been faster, and cnats takes writing nothing for the end of
            // the connection.
            guard wantsWrite.load(ordering: .acquiring), natsConnection_Buffered(connection) > 0
            else { return }
            writeCount.add(1, ordering: .relaxed)
            natsConnection_ProcessWriteEvent(connection)
        }
        guard wantsWrite.load(ordering: .acquiring) else { return }
        if natsConnection_Buffered(connection) > Self.backlogLimit {
            congested.store(true, ordering: .relaxed)
        }
        if !armed.load(ordering: .relaxed) { arm() }
    }
}
