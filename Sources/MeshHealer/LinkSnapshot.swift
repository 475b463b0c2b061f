import Platform
import Protocol

/// The routes and addresses of a link that go when it is switched off, to be put back exactly.
struct LinkSnapshot: Sendable, Equatable {
    /// Routes that are kept in a journal at most; thousands are some routing program's.
    private static let limit = 256

    var routes: [NetworkRoute]
    var addresses: [[UInt8]]

    init(_ link: NetworkLink) throws(NetlinkFailure) {
        var routes: [NetworkRoute] = []
        for isV6 in [false, true] {
            routes += try NetworkRoutes.all(isV6: isV6).filter {
                $0.device == link.index && $0.table != 255
            }
        }
        self.routes = Array(routes.prefix(Self.limit))
        addresses = try NetworkAddresses.lostWithLink(link.index)
    }

    // MARK: In a journal

    init?(_ json: JSON?) {
        guard let object = json?.object else { return nil }
        routes = (object["routes"]?.array ?? []).compactMap {
            $0.string.flatMap(NetworkRoute.init(hex:))
        }
        addresses = (object["addresses"]?.array ?? []).compactMap {
            $0.string.flatMap(NetworkAddresses.payload(hex:))
        }
    }

    var json: JSON {
        .object([
            "routes": .array(routes.map { .string($0.hex) }),
            "addresses": .array(addresses.map { .string(NetworkAddresses.hex($0)) }),
        ])
    }

    // MARK: Putting back

    /// Puts back what is missing, and leaves alone what somebody else has put in its place.
    ///
    /// - Returns: what could not be put back.
    func restore(_ link: NetworkLink) -> [String] {
        var failures: [String] = []
        let present = (try? NetworkAddresses.lostWithLink(link.index)) ?? []
        for address in addresses where !present.contains(where: { $0.isSameAddress(as: address) }) {
            do throws(NetlinkFailure) { try NetworkAddresses.restore(address) } catch {
                failures.append("\(error)")
            }
        }
        // First those that lead to the link itself: gateways are reached by them.
        let ordered = routes.filter { $0.gateway == nil } + routes.filter { $0.gateway != nil }
        let current = ((try? LinkSnapshot(link))?.routes) ?? []
        for route in ordered where !current.contains(where: { $0.isSamePlace(as: route) }) {
            do throws(NetlinkFailure) { _ = try NetworkRoutes.add(route) } catch {
                failures.append("\(error)")
            }
        }
        return failures
    }
}

extension [UInt8] {
    /// Whether two messages are about one address, whatever its state is.
    fileprivate func isSameAddress(as other: [UInt8]) -> Bool {
        NetworkAddresses.text(self) == NetworkAddresses.text(other)
    }
}
