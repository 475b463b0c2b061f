/// Asks again and again until it is so; an error counts as no. The limit only ends a test that has
/// failed: no machine that works takes as long.
package func eventually(_ condition: () async throws -> Bool) async -> Bool {
    let start = ContinuousClock.now
    while ContinuousClock.now - start < .seconds(120) {
        if (try? await condition()) == true { return true }
        // Blocking would take a thread from the other tests.
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}
