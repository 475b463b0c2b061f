/// A table for people: a line of titles, and rows in columns as wide as they need to be.
package struct Table: Sendable {
    /// One cell; its text is made safe for terminals.
    package struct Cell: Sendable, ExpressibleByStringLiteral {
        package var text: String
        package var colour: Style.Colour?

        package init(_ text: String, _ colour: Style.Colour? = nil) {
            self.text = Text.safe(text)
            self.colour = colour
        }

        package init(stringLiteral value: String) { self.init(value) }
    }

    private let titles: [String]
    private var rows: [[Cell]] = []

    package init(_ titles: [String]) { self.titles = titles }

    /// Whether it has no rows.
    package var isEmpty: Bool { rows.isEmpty }

    /// Adds a row with a cell for each title.
    package mutating func add(_ row: [Cell]) {
        precondition(row.count == titles.count, "one cell for each title")
        rows.append(row)
    }

    /// The lines of the table. On a terminal, what does not fit is cut off from the last column.
    package func text(_ style: Style) -> String {
        var widths = titles.map(\.count)
        for row in rows {
            for (column, cell) in row.enumerated() {
                widths[column] = max(widths[column], cell.text.count)
            }
        }
        let head = titles.map { Cell($0, .dim) }
        return ([head] + rows).map { line($0, widths, style) + "\n" }.joined()
    }

    private func line(_ row: [Cell], _ widths: [Int], _ style: Style) -> String {
        var line = ""
        var used = 0
        // Blanks at the end of a line help nobody.
        let last = row.lastIndex { !$0.text.isEmpty } ?? -1
        for (column, cell) in row.enumerated() where column <= last {
            var text = cell.text
            if column == titles.count - 1, let width = style.width, used + text.count > width {
                text = text.prefix(max(8, width - used - 1)) + "…"
            }
            line += style.paint(text, cell.colour)
            guard column < last else { break }
            line += String(repeating: " ", count: widths[column] - cell.text.count + 2)
            used += widths[column] + 2
        }
        return line
    }
}

/// Names and values below one another.
package struct Listing: Sendable {
    private var rows: [(name: String, lines: [Table.Cell])] = []

    package init() {}

    package mutating func add(_ name: String, _ text: String, _ colour: Style.Colour? = nil) {
        rows.append((name, [Table.Cell(text, colour)]))
    }

    /// Adds another line to the last value.
    package mutating func more(_ text: String, _ colour: Style.Colour? = nil) {
        rows[rows.count - 1].lines.append(Table.Cell(text, colour))
    }

    package func text(_ style: Style) -> String {
        let width = rows.reduce(0) { max($0, $1.name.count) } + 2
        var text = ""
        for (name, lines) in rows {
            for (index, line) in lines.enumerated() {
                let title = index == 0 ? name : ""
                let margin = String(repeating: " ", count: width - title.count)
                text += style.paint(title, .dim) + margin + style.paint(line.text, line.colour)
                text += "\n"
            }
        }
        return text
    }
}
