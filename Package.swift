// swift-tools-version: 6.2
// One executable, small rooms: see docs/architecture.md for what each target is for and which
// arrows between them are allowed. Tests/TidyTests checks the arrows.
import PackageDescription

/// Every Swift target is built with these; a warning is an error.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .enableUpcomingFeature("ImmutableWeakCaptures"),
    .treatAllWarnings(as: .error),
]

/// A release binary carries the Swift runtime, so that one file can be copied to a node.
let staticRuntime: [LinkerSetting] = [
    .unsafeFlags(["-static-stdlib"], .when(configuration: .release))
]

func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, path: "Tests/\(name)",
        exclude: [], swiftSettings: strict)
}

func library(_ name: String, pkgConfig: String?, apt: String) -> Target {
    .systemLibrary(
        name: name, path: "Sources/System/\(name)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let package = Package(
    name: "skos",
    products: [.executable(name: "skos", targets: ["skos"])],
    targets: [
        library("CNATS", pkgConfig: "libnats", apt: "libnats-dev"),
        library("CYAML", pkgConfig: "yaml-0.1", apt: "libyaml-dev"),
        library("CSodium", pkgConfig: "libsodium", apt: "libsodium-dev"),
        // Debian's libsensors has no .pc file; the module map links it.
        library("CSensors", pkgConfig: nil, apt: "libsensors-dev"),
        // The C library's <sys/timex.h>, which Swift's Glibc module leaves out.
        .systemLibrary(name: "CTimex", path: "Sources/System/CTimex"),

        // What Swift cannot say: variadic C functions, and what happens between fork and exec.
        .target(name: "CShim", path: "Sources/System/CShim"),
        // libcurl, found at run time (libcurl4); only its headers are needed to build, from apt's
        // libcurl4-openssl-dev.
        .target(name: "CCURL", path: "Sources/System/CCURL"),

        room("Threads"),
        room("Protocol"),
        room("Immunity", ["Protocol"]),
        room("Audit", ["Protocol", "CSodium"]),
        room("Runtime", ["Protocol", "Threads", "CTimex"]),
        room("Bus", ["CNATS", "Protocol", "Threads"]),
        room("Settings", ["Protocol", "Threads", "CYAML"]),
        room("Platform", ["CSensors", "CShim", "Threads"]),
        room("Antibody", ["Protocol", "Bus", "Settings", "Platform", "Runtime"]),
        room("ThermalSentinel", ["Protocol", "Antibody", "Settings", "Platform", "Runtime"]),
        room("StorageWatcher", ["Protocol", "Antibody", "Settings", "Platform", "Runtime"]),
        room("MeshHealer", ["Protocol", "Antibody", "Settings", "Platform", "Runtime"]),
        room("LoopBreaker", ["Protocol", "Antibody", "Bus", "Settings", "Runtime"]),
        room("Notifier", ["CCURL", "Protocol", "Settings", "Runtime"]),
        room(
            "Coordinator",
            ["Protocol", "Immunity", "Audit", "Bus", "Settings", "Runtime", "Notifier"]),
        room("Operator", ["Protocol", "Audit", "Bus", "Settings", "Platform", "Runtime"]),
        .executableTarget(
            name: "skos",
            dependencies: [
                "Protocol", "Bus", "Settings", "Platform", "Runtime", "Antibody",
                "ThermalSentinel", "StorageWatcher", "MeshHealer", "LoopBreaker", "Coordinator",
                "Operator",
            ],
            swiftSettings: strict, linkerSettings: staticRuntime),

        .target(
            name: "CBench", path: "bench/CBench", cSettings: [.unsafeFlags(["-O2"])],
            linkerSettings: [.linkedLibrary("nats")]),
        .executableTarget(
            name: "skos-bench",
            dependencies: [
                "CBench", "Antibody", "LoopBreaker", "Platform", "Protocol", "Settings",
                "StorageWatcher",
            ],
            path: "bench/skos-bench", swiftSettings: strict),

        .target(
            name: "TestSupport", dependencies: ["Bus", "Platform", "Threads"],
            path: "Tests/TestSupport",
            swiftSettings: strict),
        tests("ThreadsTests", ["Threads"]),
        tests("ProtocolTests", ["Protocol"]),
        tests("ImmunityTests", ["Immunity", "Protocol"]),
        tests("AuditTests", ["Audit", "Protocol"]),
        tests("RuntimeTests", ["Runtime", "Protocol"]),
        tests("BusTests", ["Bus", "Protocol", "TestSupport"]),
        tests("SettingsTests", ["Settings", "Protocol", "TestSupport"]),
        tests("PlatformTests", ["Platform", "TestSupport"]),
        tests(
            "AntibodyTests",
            ["Antibody", "Protocol", "Bus", "Platform", "Settings", "Runtime", "TestSupport"]),
        tests("NotifierTests", ["Notifier", "Protocol", "Runtime", "Settings", "TestSupport"]),
        tests(
            "ThermalSentinelTests",
            ["ThermalSentinel", "Antibody", "Protocol", "Platform", "Settings", "TestSupport"]),
        tests(
            "StorageWatcherTests",
            ["StorageWatcher", "Antibody", "Protocol", "Platform", "Settings", "TestSupport"]),
        tests(
            "MeshHealerTests",
            ["MeshHealer", "Antibody", "Protocol", "Platform", "Settings", "TestSupport"]),
        tests(
            "LoopBreakerTests",
            [
                "LoopBreaker", "Antibody", "Protocol", "Bus", "Runtime", "Settings", "TestSupport",
            ]),
        tests(
            "OperatorTests",
            [
                "Operator", "Protocol", "Audit", "Bus", "Platform", "Runtime", "Settings",
                "TestSupport", "skos",
            ]),
        tests(
            "CoordinatorTests",
            [
                "Coordinator", "Immunity", "Audit", "Protocol", "Bus", "Runtime", "Settings",
                "TestSupport",
            ]),
        // They run the built program.
        tests("EndToEndTests", ["TestSupport"]),
        tests("TidyTests", []),
    ]
)
