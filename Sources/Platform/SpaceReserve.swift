import CShim

/// Room on the disk that a file has before it needs it.
package enum SpaceReserve {
    /// Sets blocks aside behind a file's end; its length stays as it is. What is written there succeeds also
    /// when the disk has become full. Where the file system cannot do that, nothing happens.
    ///
    /// - `offset`: from where on, in bytes; `bytes`: how many.
    @discardableResult
    package static func make(_ descriptor: Int32, from offset: Int, bytes: Int) -> Bool {
        skos_reserve(descriptor, Int64(offset), Int64(bytes)) == 0
    }
}
