package import Antibody
import Platform
package import Protocol
package import Settings

/// What the storage watcher makes of its looks at all mounts. Pure.
package struct StorageJudge: Sendable {
    private struct Key: Hashable {
        var device: String
        var point: [UInt8]
    }

    private var settings: Config.Storage
    private var interval: Duration
    private var tracks: [Key: MountTrack] = [:]

    package init(_ config: Config) {
        settings = config.storage
        interval = config.monitorInterval
    }

    package mutating func apply(_ config: Config) {
        settings = config.storage
        interval = config.monitorInterval
        for key in tracks.keys { tracks[key]?.apply(settings, interval: interval) }
    }

    /// Takes in one look at each mount, and returns the symptoms.
    package mutating func observe(
        _ observations: [MountObservation], at now: Timestamp
    ) -> [Symptom] {
        var symptoms: [Symptom] = []
        var left = Set(tracks.keys)
        for observation in observations {
            let mount = observation.mount
            let key = Key(device: mount.device.description, point: mount.point)
            left.remove(key)
            var track =
                tracks.removeValue(forKey: key)
                ?? MountTrack(mount, settings: settings, interval: interval)
            symptoms += track.observe(observation, at: now)
            tracks[key] = track
        }
        // What now stands at a point speaks for it where it can; the rest of what was there is over.
        var stated: Set<[String]> = []
        for symptom in symptoms where symptom.severity != nil {
            stated.insert([symptom.type, symptom.resource])
        }
        for key in left {
            guard let track = tracks.removeValue(forKey: key) else { continue }
            symptoms += track.farewell().filter { !stated.contains([$0.type, $0.resource]) }
        }
        return symptoms
    }
}
