import Foundation
import Glibc
import Platform
import TestSupport
import Testing

/// NVML through a library with its interface that is compiled here, and `nvidia-smi` through a program
/// that answers like it: no GPU is needed, and the loading, calling and parsing are real.
@Suite struct NvidiaTests {
    static let compiler: String? = ["/usr/bin/cc", "/usr/bin/clang", "/usr/bin/gcc"].first {
        (path: String) in access(path, X_OK) == 0
    }

    /// A driver with one GPU at 61 °C and 350 W; `omit` leaves functions out, as old ones do.
    private func library(_ scratch: Scratch, omit: String = "", start: Int = 0) throws -> String {
        let source = """
            #include <string.h>
            static unsigned limit = 350000;
            \(omit.contains("v2") ? "int nvmlInit" : "int nvmlInit_v2")(void) { return \(start); }
            \(omit.contains("v2") ? "int nvmlDeviceGetCount" : "int nvmlDeviceGetCount_v2")(unsigned *n)
            { *n = 2; return 0; }
            int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d)
            { if (i) return 15; *d = &limit; return 0; }
            int nvmlDeviceGetUUID(void *d, char *t, unsigned n) { strncpy(t, "GPU-abc", n); return 0; }
            int nvmlDeviceGetName(void *d, char *t, unsigned n) { strncpy(t, "Test GPU", n); return 0; }
            \(omit.contains("temperature") ? "int other" : "int nvmlDeviceGetTemperature")
            (void *d, int s, unsigned *c) { if (s) return 2; *c = 61; return 0; }
            int nvmlDeviceGetPowerManagementLimit(void *d, unsigned *m) { *m = limit; return 0; }
            int nvmlDeviceGetPowerManagementLimitConstraints(void *d, unsigned *a, unsigned *b)
            { *a = 100000; *b = 400000; return \(omit.contains("range") ? 3 : 0); }
            int nvmlDeviceSetPowerManagementLimit(void *d, unsigned m)
            { if (m == 123000) return 4; limit = m; return 0; }
            const char *nvmlErrorString(int e) { return e == 4 ? "Insufficient Permissions" : "Other"; }
            """
        try Data(source.utf8).write(to: URL(fileURLWithPath: scratch.path + "/nvml.c"))
        let output = scratch.path + "/libnvidia-ml.so.1"
        let compiler = try #require(Self.compiler)
        let result = try Subprocess(
            compiler, ["-shared", "-fPIC", "-o", output, scratch.path + "/nvml.c"],
            timeLimit: .seconds(60)
        ).run()
        try #require(result.exitCode == 0)
        return output
    }

    private func program(_ scratch: Scratch, _ script: String) throws -> String {
        let path = scratch.path + "/nvidia-smi"
        try Script.write("#!/bin/sh\n\(script)\n", to: path)
        return path
    }

    @Test(.enabled(if: NvidiaTests.compiler != nil, "needs a C compiler"))
    func nvmlReadsAndLimits() throws {
        let scratch = try Scratch()
        let nvml = NVML(libraryName: try library(scratch))
        #expect(nvml.isPresent)
        // The second GPU is lost; the first one still counts.
        #expect(
            nvml.temperatures() == [
                NvidiaTemperature(uuid: "GPU-abc", name: "Test GPU", celsius: .success(61))
            ])
        #expect(
            nvml.powerLimits() == [
                NvidiaPowerLimit(
                    uuid: "GPU-abc", name: "Test GPU", limit: 350_000, least: 100_000, most: 400_000
                )
            ])
        try nvml.setPowerLimit(uuid: "GPU-abc", milliwatts: 175_000)
        #expect(try nvml.powerLimit(uuid: "GPU-abc") == 175_000)
        #expect(
            throws: NvidiaFailure(code: 4, message: "NVML: Insufficient Permissions (4)")
        ) { try nvml.setPowerLimit(uuid: "GPU-abc", milliwatts: 123_000) }
        #expect(throws: NvidiaFailure(message: "there is no GPU GPU-x", isMissing: true)) {
            try nvml.powerLimit(uuid: "GPU-x")
        }
    }

    @Test(.enabled(if: NvidiaTests.compiler != nil, "needs a C compiler"))
    func nvmlWithoutSomeFunctions() throws {
        let scratch = try Scratch()
        let nvml = NVML(libraryName: try library(scratch, omit: "v2 temperature range"))
        guard case .failure(let failure) = nvml.temperatures().first?.celsius else {
            Issue.record("expected a failure")
            return
        }
        #expect(failure.code == 13)
        #expect(nvml.powerLimits().isEmpty)
        #expect(try nvml.powerLimit(uuid: "GPU-abc") == 350_000)
    }

    @Test(.enabled(if: NvidiaTests.compiler != nil, "needs a C compiler"))
    func nvmlWithoutADriver() throws {
        let scratch = try Scratch()
        let nvml = NVML(libraryName: try library(scratch, start: 9))
        #expect(nvml.isPresent)
        #expect(nvml.temperatures().isEmpty)
    }

    @Test func withoutTheLibraryThereAreNoGPUs() {
        let nvml = NVML(libraryName: "/nowhere/libnvidia-ml.so.1")
        #expect(!nvml.isPresent)
        #expect(nvml.temperatures().isEmpty)
        #expect(nvml.powerLimits().isEmpty)
        #expect(throws: NvidiaFailure.self) { try nvml.powerLimit(uuid: "GPU-abc") }
    }

    @Test func theProgramIsAskedWhereThereIsNoLibrary() throws {
        let scratch = try Scratch()
        let state = scratch.path + "/limit"
        try Data("350.00".utf8).write(to: URL(fileURLWithPath: state))
        let path = try program(
            scratch,
            """
            case "$1" in
            --query-gpu=*) echo "GPU-1, NVIDIA RTX, A6000, 55, $(cat \(state)), 100.00, 400.00"
                echo "GPU-2, NVIDIA GB10, 48, [N/A], [N/A], [N/A]"
                echo "broken line"
                echo "GPU-3, NVIDIA X, [N/A], 70.00, 60.00, 80.00";;
            -i) test "$2 $3" = "GPU-1 -pl" || exit 3; echo "$4" > \(state);;
            esac
            """)
        let nvidia = Nvidia(
            nvml: NVML(libraryName: "/nowhere/lib.so"),
            program: NvidiaSMI(program: path, timeLimit: .seconds(60)), limit: .seconds(60))
        let temperatures = nvidia.temperatures()
        #expect(temperatures.map(\.uuid) == ["GPU-1", "GPU-2", "GPU-3"])
        #expect(temperatures.map(\.name) == ["NVIDIA RTX, A6000", "NVIDIA GB10", "NVIDIA X"])
        #expect(temperatures[0].celsius == .success(55))
        #expect(temperatures[1].celsius == .success(48))
        #expect(throws: NvidiaFailure.self) { try temperatures[2].celsius.get() }
        #expect(nvidia.powerLimits().map(\.uuid) == ["GPU-1", "GPU-3"])
        #expect(nvidia.powerLimits().first?.limit == 350_000)
        try nvidia.setPowerLimit(uuid: "GPU-1", milliwatts: 175_500)
        #expect(try nvidia.powerLimit(uuid: "GPU-1") == 175_500)
        #expect(throws: NvidiaFailure.self) {
            try nvidia.setPowerLimit(uuid: "GPU-3", milliwatts: 60_000)
        }
        #expect(throws: NvidiaFailure(code: 3, message: "GPU-2 has no power limit")) {
            try nvidia.powerLimit(uuid: "GPU-2")
        }
    }

    @Test(arguments: ["exit 9", "exit 15", "echo no commas here", "echo; echo ,,,,,,"])
    func aProgramThatFailsMeansNoGPUs(_ script: String) throws {
        let scratch = try Scratch()
        let source = NvidiaSMI(program: try program(scratch, script))
        #expect(source.temperatures().isEmpty)
        #expect(source.powerLimits().isEmpty)
    }

    @Test func aProgramThatHangsIsGivenUp() throws {
        let scratch = try Scratch()
        let path = try program(scratch, "sleep 1000")
        let source = NvidiaSMI(program: path, timeLimit: .milliseconds(50))
        #expect(source.temperatures().isEmpty)
    }
}
