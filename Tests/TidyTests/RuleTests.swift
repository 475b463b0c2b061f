import Testing

/// Every rule is broken here once, so that a rule that checks nothing is noticed.
@Suite("The house rules themselves")
struct RuleTests {
    private func lines(_ faults: [Rules.Fault]) -> [Int] { faults.map(\.line).sorted() }

    @Test("comments and strings are no code, interpolations neither")
    func blanking() {
        let text = ##"""
            let a = "Task // \(b("Task", c: ")")) Task" // Task
            /* Task /* Task */ Task */ let b = #"Task" \#(Task) "#
            let c = """
                Task "Task" \(Task)
                """
            let d = Task
            """##
        let source = SourceText(text)
        #expect(source.places(ofWord: "Task").map(source.line) == [6])
        #expect(source.lines.count == 6)
        #expect(source.places(ofWord: "let").map(source.line) == [1, 2, 3, 6])
    }

    @Test(
        "impure",
        arguments: [
            "import Foundation", "import Glibc", "internal import Synchronization",
            "import Dispatch", "let t = clock.now", "let t: Instant = .now",
            "x.shuffled()", "x.randomElement()", "Int.random(in: 0...1)", "Task { }",
            "Task.detached { }", "func f() async {}", "await f()", "actor A {}",
            "ContinuousClock()", "print(1)", "// FIX" + "ME later", "// TO" + "DO", "Mutex(1)",
        ])
    func impure(line: String) {
        #expect(lines(Rules.purityFaults(SourceText("let a = 1\n" + line + "\n"))).contains(2))
    }

    @Test(
        "pure",
        arguments: [
            "package import Protocol", "// Foundation is not imported; no Task, no await",
            "let text = \"await Task .now\"", "let nowhere = x.nowhere", "x.nowish()",
            "Int.random(in: 0...1, using: &dice)", "let taskCount = 1", "let actor: String",
            "event.actor ?? name", "state.asyncCount",
        ])
    func pure(line: String) { #expect(Rules.purityFaults(SourceText(line)).isEmpty) }

    @Test(
        "imports",
        arguments: [
            ("import Glibc", "Glibc"), ("package import Bus", "Bus"),
            ("@testable import Bus", "Bus"), ("@preconcurrency internal import Bus", "Bus"),
            ("import struct Bus.Message", "Bus"), ("// import Bus", nil), ("let x = 1", nil),
            ("\"import Bus\"", nil),
        ] as [(String, String?)])
    func imports(line: String, module: String?) {
        #expect(Rules.imports(SourceText(line)).first?.module == module)
    }

    @Test("Foundation")
    func foundation() {
        for module in ["Foundation", "FoundationEssentials"] {
            let faults = Rules.foundationFaults(SourceText("import Glibc\nimport \(module)\n"))
            #expect(lines(faults) == [2])
        }
        #expect(Rules.foundationFaults(SourceText("import FoundationFree")).isEmpty)
    }

    @Test("file lengths are exact")
    func fileLengths() {
        let longest = String(repeating: "\n", count: 400)
        #expect(Rules.lengthFaults(SourceText(longest)).isEmpty)
        #expect(Rules.lengthFaults(SourceText(longest + "\n")).count == 1)
        #expect(Rules.lengthFaults(SourceText(longest + "}")).count == 1)
    }

    @Test("function lengths are exact, whatever stands in them")
    func functionLengths() {
        func text(_ head: String, _ count: Int) -> String {
            let filler = "    let text = \"}\" // }"
            return head + "\n"
                + Array(repeating: filler, count: count - 2).joined(separator: "\n") + "\n}\n"
        }
        for head in [
            "func f() {", "func f(a: (Int) -> Void = { _ in }) {", "init?(_ x: [Int]) {",
            "subscript(x: Int) -> Int {", "static func == (a: A, b: A) -> Bool {",
            "func f<T>() throws(E) -> T where T: P {", "deinit {",
        ] {
            #expect(Rules.functionFaults(SourceText(text(head, 70))).isEmpty, "\(head)")
            #expect(
                lines(Rules.functionFaults(SourceText("\n" + text(head, 71)))) == [2], "\(head)")
        }
        let signature = "func f(\n    a: Int\n)\n    throws\n    -> Int\n{"
        #expect(Rules.functionFaults(SourceText(text(signature, 66))).count == 1)
        #expect(Rules.functionFaults(SourceText(text(signature, 65))).isEmpty)
    }

    @Test("requirements of protocols have no body")
    func requirements() {
        let body = Array(repeating: "    x()", count: 80).joined(separator: "\n")
        let text = "protocol P {\n    func f() -> Int\n    init()\n}\nlet x = {\n\(body)\n}\n"
        #expect(Rules.functions(SourceText(text)).isEmpty)
        #expect(Rules.functions(SourceText("self.init(x)\nsuper.init()\nlet y = { 1 }")).isEmpty)
    }

    @Test("public")
    func access() {
        for line in [
            "public func f() {}", "    public init() {}", "@inlinable public var x: Int",
            "open class C {}", "public import Bus", "public static let x = 1",
        ] { #expect(Rules.accessFaults(SourceText(line)).count == 1, "\(line)") }
        for line in [
            "package func f() {}", "// public func", "breaker.open(until: x)",
            "mutating func open(x: Int) {", "let public = 1", "open(key, reason)",
            "if open.isEmpty { let x = 1 }",
        ] { #expect(Rules.accessFaults(SourceText(line)).isEmpty, "\(line)") }
    }

    @Test("unsafe")
    func unsafe() {
        let bare = "let a = 1\nlet b = 1\nfinal class C: @unchecked Sendable {}\n"
        #expect(lines(Rules.unsafeFaults(SourceText(bare))) == [3])
        #expect(Rules.unsafeFaults(SourceText("// C owns it.\n" + bare)).isEmpty)
        #expect(Rules.unsafeFaults(SourceText("nonisolated(unsafe) var x = 1")).count == 1)
    }

    private static let manifest = """
        // room("NotOne")
        func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
            .target(name: name, dependencies: dependencies)
        }
        let package = Package(name: "x", targets: [
            library("CX", pkgConfig: nil, apt: "libx"),
            .systemLibrary(name: "CY", path: "Sources/System/CY"),
            .target(name: "CZ", path: "Sources/System/CZ"),
            room("Protocol"),
            room("Immunity", ["Protocol"]),
            room("Bus", ["CX", "Protocol"]), room("Antibody", ["Bus"]),
            room("MeshHealer", ["Antibody"]), room("LoopBreaker", ["Antibody"]),
            .executableTarget(name: "skos", dependencies: [
                "Bus", "Immunity",
            ]),
            .target(name: "TestSupport", dependencies: ["Bus"], path: "Tests/TestSupport"),
            tests("BusTests", ["Bus", "TestSupport"]),
        ])
        """

    @Test("the manifest is read")
    func manifest() {
        let manifest = Manifest(Self.manifest)
        #expect(
            Set(manifest.targets.map(\.name)) == [
                "CX", "CY", "CZ", "Protocol", "Immunity", "Bus", "Antibody", "MeshHealer",
                "LoopBreaker", "skos", "TestSupport", "BusTests",
            ])
        #expect(manifest["skos"]?.dependencies == ["Bus", "Immunity"])
        #expect(manifest["TestSupport"]?.path == "Tests/TestSupport")
        #expect(manifest["BusTests"]?.kind == .tests)
        #expect(manifest["CZ"]?.kind == .library)
        #expect(manifest["Bus"]?.path == "Sources/Bus")
        #expect(manifest["Protocol"]?.dependencies == [])
    }

    private let rightImports: [String: Set<String>] = [
        "Bus": ["CX", "Glibc", "Protocol"], "skos": ["Bus"], "Antibody": ["CY"],
    ]

    @Test("arrows that are right")
    func rightArrows() {
        var imports = rightImports
        imports["Antibody"] = ["Bus"]
        imports["Bus"]?.formUnion(["CY", "CZ"])
        let text = Self.manifest.replacing(
            "[\"CX\", \"P", with: "[\"CX\", \"CY\", \"CZ\", \"P")
        #expect(Rules.arrowFaults(Manifest(text), imports: imports) == [])
    }

    @Test("arrows that are wrong")
    func wrongArrows() {
        let wrong: [(String, String, String)] = [
            ("[\"Antibody\"])", "[\"Immunity\"])", "MeshHealer must not depend on Immunity"),
            ("[\"Antibody\"])", "[\"LoopBreaker\"])", "must not depend on LoopBreaker"),
            ("(\"Immunity\", [", "(\"Immunity\", [\"Bus\", ", "Immunity must not depend on Bus"),
            ("room(\"Protocol\")", "room(\"Protocol\", [\"Bus\"])", "Protocol must not depend"),
            ("[\"Bus\"]),", "[\"Buss\"]),", "depends on Buss, which is no target"),
            ("[\"CX\", ", "[\"Antibody\", ", "Bus must not depend on Antibody"),
            ("[\"CX\", ", "[", "Bus imports CX without declaring it"),
            ("[\"Antibody\"])", "[\"Notifier\"])", "MeshHealer must not depend on Notifier"),
            ("zzz", "zzz", "CY is imported by []"), ("zzz", "zzz", "CZ is imported by []"),
        ]
        for (old, new, fault) in wrong {
            let text = Self.manifest.replacing(old, with: new)
            let faults = Rules.arrowFaults(
                Manifest(text), imports: ["Bus": ["CX", "Protocol"]])
            #expect(faults.contains { $0.contains(fault) }, "\(fault) in \(faults)")
        }
        let twice = Rules.arrowFaults(
            Manifest(Self.manifest), imports: ["Bus": ["CX"], "skos": ["CX", "CY"]])
        #expect(twice.contains { $0.contains("CX is imported by [\"Bus\", \"skos\"]") })
    }
}
