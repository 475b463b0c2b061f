/// A queue whose front can be taken without moving the rest.
struct Backlog<Element: Sendable>: Sendable {
    private var elements: [Element?] = []
    private var head = 0

    /// Elements that were taken are let go of at once; their places when there are this many.
    private static var slack: Int { 4096 }

    var count: Int { elements.count - head }

    var isEmpty: Bool { head == elements.count }

    var first: Element? { isEmpty ? nil : elements[head] }

    mutating func append(_ element: Element) { elements.append(element) }

    /// Takes the oldest element, if there is one and it is as it must be.
    mutating func popFirst(if condition: (Element) -> Bool = { _ in true }) -> Element? {
        guard !isEmpty, elements[head].map(condition) ?? false else { return nil }
        let element = elements[head].take()
        head += 1
        if head == elements.count {
            elements.removeAll(keepingCapacity: elements.count <= Self.slack)
            head = 0
        } else if head >= Self.slack, head * 2 >= elements.count {
            elements.removeFirst(head)
            head = 0
        }
        return element
    }

    /// Takes the oldest elements, up to `limit`.
    mutating func take(_ limit: Int) -> [Element] {
        var taken: [Element] = []
        taken.reserveCapacity(min(limit, count))
        while taken.count < limit, let element = popFirst() { taken.append(element) }
        return taken
    }
}
