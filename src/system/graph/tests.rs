//! Tests of pictures: no boxes overlap, and every arrow begins and ends at the lines that it
//! connects, and crosses no box.

use super::layout::{Picture, Point, Rectangle, place};
use super::*;

/// The numbers of a box and a line in it.
type Place = (usize, usize);

/// Returns a diagram of boxes with these numbers of lines, and arrows between lines.
fn diagram(rows: &[usize], arrows: &[(Place, Place)]) -> Diagram {
    let boxes = rows.iter().enumerate().map(|(number, rows)| DiagramBox {
        title: format!("host{number}.example.com"),
        is_external: false,
        rows: (0..*rows)
            .map(|row| DiagramRow {
                text: format!("service {row}"),
                kind: RowKind::Part(row),
            })
            .collect(),
    });
    let place = |(box_number, row)| RowPlace { box_number, row };
    let arrows = arrows.iter().map(|(from, to)| Arrow {
        from: place(*from),
        to: place(*to),
        label: "http :20000".to_owned(),
    });
    Diagram {
        title: "test".to_owned(),
        boxes: boxes.collect(),
        arrows: arrows.collect(),
    }
}

fn check(diagram: &Diagram) {
    let picture = place(diagram);
    let boxes = &picture.boxes;
    for (number, one) in boxes.iter().enumerate() {
        assert!(
            one.x > 0.0 && one.x + one.width < picture.width,
            "{diagram:?}"
        );
        assert!(
            one.y > 0.0 && one.y + one.height < picture.height,
            "{diagram:?}"
        );
        for other in &boxes[number + 1..] {
            assert!(!overlap(one, other), "{one:?} {other:?} {diagram:?}");
        }
    }
    for (arrow, curve) in diagram.arrows.iter().zip(&picture.curves) {
        let (first, last) = (curve.points[0], curve.points[curve.points.len() - 1]);
        assert!(
            is_at_side(&picture, arrow.from, first),
            "{arrow:?} {diagram:?}"
        );
        assert!(
            is_at_side(&picture, arrow.to, last),
            "{arrow:?} {diagram:?}"
        );
        // The ways through columns are straight; between columns there are no boxes.
        let inner = &curve.points[1..curve.points.len() - 1];
        for pair in inner.chunks(2) {
            let crosses = |one: &Rectangle| {
                let is_beside = pair[0].y > one.y && pair[0].y < one.y + one.height;
                is_beside && pair[0].x < one.x + one.width && pair[1].x > one.x
            };
            assert!(!boxes.iter().any(crosses), "{arrow:?} {diagram:?}");
        }
    }
}

fn overlap(one: &Rectangle, other: &Rectangle) -> bool {
    one.x < other.x + other.width
        && other.x < one.x + one.width
        && one.y < other.y + other.height
        && other.y < one.y + one.height
}

/// Returns whether a point is in the middle of the left or the right side of a line.
fn is_at_side(picture: &Picture, place: RowPlace, point: Point) -> bool {
    let row = picture.rows[place.box_number][place.row];
    let is_middle = (point.y - row.y - row.height / 2.0).abs() < 0.001;
    let is_side = |x: f64| (point.x - x).abs() < 0.001;
    is_middle && (is_side(row.x) || is_side(row.x + row.width))
}

#[test]
fn boxes_do_not_overlap_and_arrows_end_at_lines() {
    check(&diagram(&[], &[]));
    check(&diagram(&[3], &[((0, 2), (0, 0))]));
    check(&diagram(
        &[1, 1, 1],
        &[((0, 0), (1, 0)), ((1, 0), (2, 0)), ((0, 0), (2, 0))],
    ));
    check(&diagram(&[2, 2], &[((0, 0), (1, 0)), ((1, 1), (0, 1))]));
}

proptest::proptest! {
    #[test]
    fn random_diagrams_are_placed_as_well(
        rows in proptest::collection::vec(1_usize..6, 1..14),
        arrows in proptest::collection::vec((0_usize..1000, 0_usize..1000), 0..40),
    ) {
        let place = |number: usize| {
            let box_number = number % rows.len();
            (box_number, number % rows[box_number])
        };
        let arrows: Vec<_> = arrows.into_iter().map(|(from, to)| (place(from), place(to))).collect();
        check(&diagram(&rows, &arrows));
    }
}
