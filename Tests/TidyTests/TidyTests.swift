import Testing

@Suite("House rules")
struct TidyTests {
    private func check(
        _ paths: [String], _ rule: (SourceText) -> [Rules.Fault],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        #expect(!paths.isEmpty, sourceLocation: sourceLocation)
        for path in paths {
            for fault in rule(try #require(Repository.sources[path])) {
                Issue.record("\(path):\(fault)", sourceLocation: sourceLocation)
            }
        }
    }

    private let sources = Repository.swiftFiles("Sources")
    private let everything = Repository.paths

    @Test("cores have no clock, no chance, no threads, no I/O")
    func purity() throws {
        let cores = sources.filter { $0.hasPrefix("Sources/Immunity/") || $0.contains("/Core/") }
        #expect(cores.count > 10)
        try check(cores, Rules.purityFaults)
    }

    @Test("no Foundation in the product") func foundation() throws {
        try check(sources, Rules.foundationFaults)
    }

    @Test("files are at most 400 lines") func fileLengths() throws {
        try check(everything, Rules.lengthFaults)
    }

    @Test("functions are at most 70 lines") func functionLengths() throws {
        try check(everything, Rules.functionFaults)
    }

    @Test("nothing is public") func access() throws { try check(sources, Rules.accessFaults) }

    @Test("unsafe declarations say why") func unsafe() throws {
        try check(sources, Rules.unsafeFaults)
    }

    @Test("arrows between targets point one way")
    func arrows() throws {
        let manifest = try Repository.manifest()
        #expect(manifest.targets.count > 20)
        #expect(manifest["Immunity"]?.dependencies == ["Protocol"])
        #expect(manifest["Protocol"]?.dependencies.isEmpty == true)
        #expect(manifest["CNATS"]?.kind == .library)
        var imports: [String: Set<String>] = [:]
        for target in manifest.targets where target.kind != .library {
            let files = Repository.swiftFiles(target.path)
            for path in files {
                let source = try #require(Repository.sources[path])
                imports[target.name, default: []].formUnion(Rules.imports(source).map(\.module))
            }
        }
        for fault in Rules.arrowFaults(manifest, imports: imports) { Issue.record("\(fault)") }
    }

    @Test("every folder of tests has a test, and every folder of sources is a target")
    func folders() throws {
        let manifest = try Repository.manifest()
        for target in manifest.targets where target.kind == .tests {
            let files = Repository.swiftFiles(target.path)
            let hasTest = files.contains {
                Repository.sources[$0]?.places(ofWord: "Test").isEmpty == false
            }
            #expect(hasTest, "\(target.path) has no @Test")
        }
        let paths = Set(manifest.targets.map(\.path))
        for path in sources {
            let folder = path.split(separator: "/").prefix(2).joined(separator: "/")
            #expect(paths.contains(folder), "\(path) belongs to no target")
        }
    }
}
