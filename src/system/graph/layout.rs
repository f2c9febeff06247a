//! The layout of a diagram: boxes in columns, after Sugiyama, Tagawa, and Toda (1981). An arrow that
//! skips a column passes between its boxes, so that no arrow crosses a box.

use std::collections::{BTreeMap, BTreeSet};

use super::{Diagram, RowPlace};

/// The width of a character of the font, in pixels.
const CHARACTER: f64 = 7.3;
/// The height of a line.
const ROW: f64 = 20.0;
/// The space around the lines of a box.
const PADDING: f64 = 10.0;
/// The space between boxes of a column.
const BETWEEN: f64 = 26.0;
/// The height that an arrow takes where it passes a column.
const PASSAGE: f64 = 10.0;
/// The space between columns besides that of the labels.
const GAP: f64 = 56.0;
/// The width of a character of a label.
const LABEL_CHARACTER: f64 = 6.1;
/// The space around the picture, and of its title.
const MARGIN: f64 = 24.0;
const TITLE: f64 = 28.0;

/// How often boxes are moved beside those that they are connected with.
const SWEEPS: usize = 12;

/// A diagram with places, in pixels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The boxes of the diagram, in its order.
    pub(super) boxes: Vec<Rectangle>,
    /// The lines of each box.
    pub(super) rows: Vec<Vec<Rectangle>>,
    /// The arrows of the diagram, in its order.
    pub(super) curves: Vec<Curve>,
}

/// A rectangle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rectangle {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// An arrow: Bézier curves between points, and straight lines through columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    /// Its points, from its beginning to its tip.
    pub(super) points: Vec<Point>,
    /// Whether it leaves and arrives at the same side, and turns in between.
    pub(super) turns: bool,
}

/// A point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// What a column has: boxes, and passages of arrows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Box(usize),
    /// A bundle of arrows passes here.
    Passage(usize),
}

/// An item and its column.
type ItemPlace = (usize, Item);

/// Where items are in their columns, from 0 to 1.
type Positions = BTreeMap<ItemPlace, f64>;

/// The items in other columns that each item is connected with.
type Neighbors = BTreeMap<ItemPlace, Vec<ItemPlace>>;

/// The boxes in columns.
struct Columns {
    /// The column of each box.
    of_box: Vec<usize>,
    /// The bundle of each arrow: the number of its first arrow.
    bundles: Vec<usize>,
    columns: Vec<Vec<Item>>,
}

/// Places a diagram.
pub(super) fn place(diagram: &Diagram) -> Picture {
    let mut columns = Columns::of(diagram);
    columns.sort(diagram);
    Placement::new(diagram, &columns).picture()
}

impl Columns {
    fn of(diagram: &Diagram) -> Self {
        let of_box = depths(diagram);
        let number = of_box.iter().max().map_or(0, |last| last + 1);
        let mut columns = vec![Vec::new(); number];
        for (number, column) in of_box.iter().enumerate() {
            columns[*column].push(Item::Box(number));
        }
        let bundles = bundles(diagram, &of_box);
        for (arrow, bundle) in diagram.arrows.iter().zip(&bundles) {
            let ends = [arrow.from, arrow.to].map(|end| of_box[end.box_number]);
            let (first, last) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            for column in columns.iter_mut().take(last).skip(first + 1) {
                if !column.contains(&Item::Passage(*bundle)) {
                    column.push(Item::Passage(*bundle));
                }
            }
        }
        Self {
            of_box,
            bundles,
            columns,
        }
    }

    /// Moves boxes beside those that they are connected with, from left to right and back.
    fn sort(&mut self, diagram: &Diagram) {
        let neighbors = self.neighbors(diagram);
        let number = self.columns.len();
        for sweep in 0..SWEEPS {
            let is_forward = sweep % 2 == 0;
            for step in 0..number {
                let column = if is_forward { step } else { number - 1 - step };
                self.sort_column(column, &neighbors);
            }
        }
    }

    /// Sorts a column by where the neighbors of its items are.
    fn sort_column(&mut self, column: usize, neighbors: &Neighbors) {
        let positions = self.positions();
        let mut keyed: Vec<(f64, Item)> = Vec::new();
        for item in &self.columns[column] {
            let place = (column, *item);
            keyed.push((center(place, neighbors, &positions), *item));
        }
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.columns[column] = keyed.into_iter().map(|(_, item)| item).collect();
    }

    /// Returns where every item is in its column, from 0 to 1.
    fn positions(&self) -> Positions {
        let mut positions = Positions::new();
        for (number, column) in self.columns.iter().enumerate() {
            let size = to_f64(column.len());
            for (at, item) in column.iter().enumerate() {
                positions.insert((number, *item), (to_f64(at) + 0.5) / size);
            }
        }
        positions
    }

    /// Returns the items in other columns that each item is connected with.
    fn neighbors(&self, diagram: &Diagram) -> Neighbors {
        let mut neighbors = Neighbors::new();
        for (number, arrow) in diagram.arrows.iter().enumerate() {
            let mut ends = [arrow.from.box_number, arrow.to.box_number];
            ends.sort_by_key(|end| self.of_box[*end]);
            let (first, last) = (self.of_box[ends[0]], self.of_box[ends[1]]);
            let item = |column: usize| match column {
                _ if column == first => Item::Box(ends[0]),
                _ if column == last => Item::Box(ends[1]),
                _ => Item::Passage(self.bundles[number]),
            };
            for column in first..last {
                let (left, right) = ((column, item(column)), (column + 1, item(column + 1)));
                neighbors.entry(left).or_default().push(right);
                neighbors.entry(right).or_default().push(left);
            }
        }
        neighbors
    }
}

/// Returns where the neighbors of an item are on average, or where it is itself without any.
fn center(place: ItemPlace, neighbors: &Neighbors, positions: &Positions) -> f64 {
    let own = positions[&place];
    let Some(around) = neighbors.get(&place) else {
        return own;
    };
    let sum: f64 = around.iter().map(|other| positions[other]).sum();
    sum / to_f64(around.len())
}

/// Returns the bundle of each arrow: arrows that come from one side to one line pass columns
/// together.
fn bundles(diagram: &Diagram, of_box: &[usize]) -> Vec<usize> {
    let mut first: BTreeMap<(RowPlace, bool), usize> = BTreeMap::new();
    let arrows = diagram.arrows.iter().enumerate();
    let bundles = arrows.map(|(number, arrow)| {
        let [from, to] = [arrow.from, arrow.to].map(|end| of_box[end.box_number]);
        *first.entry((arrow.to, from < to)).or_insert(number)
    });
    bundles.collect()
}

/// Returns the column of each box: one further right than all that use it. Of boxes that use each
/// other, those come first that the model has first.
fn depths(diagram: &Diagram) -> Vec<usize> {
    let mut users: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); diagram.boxes.len()];
    for arrow in &diagram.arrows {
        if arrow.from.box_number != arrow.to.box_number {
            users[arrow.to.box_number].insert(arrow.from.box_number);
        }
    }
    let mut depths = vec![None; diagram.boxes.len()];
    let mut path = Vec::new();
    for number in 0..diagram.boxes.len() {
        depth(number, &users, &mut depths, &mut path);
    }
    depths.into_iter().map(Option::unwrap_or_default).collect()
}

fn depth(
    number: usize,
    users: &[BTreeSet<usize>],
    depths: &mut [Option<usize>],
    path: &mut Vec<usize>,
) -> usize {
    if let Some(known) = depths[number] {
        return known;
    }
    path.push(number);
    let mut deepest = 0;
    for user in &users[number] {
        if !path.contains(user) {
            deepest = deepest.max(depth(*user, users, depths, path) + 1);
        }
    }
    path.pop();
    depths[number] = Some(deepest);
    deepest
}

/// Computes coordinates.
struct Placement<'a> {
    diagram: &'a Diagram,
    columns: &'a Columns,
    /// The left edge and the width of each column.
    extents: Vec<(f64, f64)>,
    boxes: Vec<Rectangle>,
    /// The height at which an arrow passes a column.
    passages: BTreeMap<(usize, usize), f64>,
    height: f64,
}

impl<'a> Placement<'a> {
    fn new(diagram: &'a Diagram, columns: &'a Columns) -> Self {
        let mut placement = Self {
            diagram,
            columns,
            extents: Vec::new(),
            boxes: vec![Rectangle::default(); diagram.boxes.len()],
            passages: BTreeMap::new(),
            height: 0.0,
        };
        let heights = columns
            .columns
            .iter()
            .map(|column| placement.height_of(column));
        let highest = heights.fold(0.0, f64::max);
        placement.height = MARGIN + TITLE + highest + MARGIN;
        placement.place_columns();
        placement.place_items(highest);
        placement
    }

    fn place_columns(&mut self) {
        let mut x = MARGIN;
        for column in 0..self.columns.columns.len() {
            let width = self.width_of(column);
            self.extents.push((x, width));
            x += width + GAP + self.label_width(column);
        }
    }

    /// Stacks the items of each column, in the middle of the picture.
    fn place_items(&mut self, highest: f64) {
        for (number, column) in self.columns.columns.iter().enumerate() {
            let (x, width) = self.extents[number];
            let mut y = MARGIN + TITLE + (highest - self.height_of(column)) / 2.0;
            for item in column {
                let height = self.item_height(*item);
                match item {
                    Item::Box(each) => {
                        self.boxes[*each] = Rectangle {
                            x,
                            y,
                            width,
                            height,
                        }
                    }
                    Item::Passage(arrow) => {
                        self.passages.insert((number, *arrow), y + height / 2.0);
                    }
                }
                y += height + BETWEEN;
            }
        }
    }

    fn item_height(&self, item: Item) -> f64 {
        match item {
            Item::Box(number) => {
                let rows = self.diagram.boxes[number].rows.len();
                (to_f64(rows) + 1.0) * ROW + 2.0 * PADDING
            }
            Item::Passage(_) => PASSAGE,
        }
    }

    fn height_of(&self, column: &[Item]) -> f64 {
        let heights: f64 = column.iter().map(|item| self.item_height(*item)).sum();
        heights + BETWEEN * to_f64(column.len().saturating_sub(1))
    }

    fn width_of(&self, column: usize) -> f64 {
        let items = self.columns.columns[column].iter();
        let texts = items.flat_map(|item| match item {
            Item::Box(number) => {
                let each = &self.diagram.boxes[*number];
                let rows = each.rows.iter().map(|row| row.text.as_str());
                std::iter::once(each.title.as_str()).chain(rows).collect()
            }
            Item::Passage(_) => Vec::new(),
        });
        let longest = texts.map(|text| text.chars().count()).max();
        // Lines of parts are indented by two characters.
        (to_f64(longest.unwrap_or_default()) + 2.0) * CHARACTER + 2.0 * PADDING
    }

    /// Returns the width of the labels at the right of a column.
    fn label_width(&self, column: usize) -> f64 {
        let arrows = self.diagram.arrows.iter().filter(|arrow| {
            let [from, to] = [arrow.from, arrow.to].map(|end| self.columns.of_box[end.box_number]);
            // A label is beside the tip of its arrow: left of a later column, or right of this one.
            to == column + 1 && from <= column || to == column && from >= column
        });
        let longest = arrows.map(|arrow| arrow.label.chars().count()).max();
        to_f64(longest.unwrap_or_default()) * LABEL_CHARACTER
    }

    fn picture(self) -> Picture {
        let curves = (0..self.diagram.arrows.len()).map(|number| self.curve(number));
        let curves = curves.collect();
        let rows = self.boxes.iter().zip(&self.diagram.boxes);
        let rows = rows.map(|(place, each)| {
            let numbers = 0..each.rows.len();
            numbers.map(|row| row_of(*place, row)).collect()
        });
        let rows = rows.collect();
        let (x, width) = self.extents.last().copied().unwrap_or_default();
        let last = self.extents.len().saturating_sub(1);
        let right = self.label_width(last);
        let turned = if right > 0.0 { GAP / 2.0 + right } else { 0.0 };
        Picture {
            width: x + width + turned + MARGIN,
            height: self.height,
            boxes: self.boxes,
            rows,
            curves,
        }
    }

    /// Returns the way of an arrow.
    fn curve(&self, number: usize) -> Curve {
        let arrow = &self.diagram.arrows[number];
        let column = |place: RowPlace| self.columns.of_box[place.box_number];
        let (from, to) = (column(arrow.from), column(arrow.to));
        let row = |place: RowPlace| row_of(self.boxes[place.box_number], place.row);
        let (start, end) = (row(arrow.from), row(arrow.to));
        if from == to {
            return Curve {
                points: vec![start.right(), end.right()],
                turns: true,
            };
        }

        let passed: Vec<usize> = (from.min(to) + 1..from.max(to)).collect();
        let mut points = Vec::new();
        for column in &passed {
            let (x, width) = self.extents[*column];
            let y = self.passages[&(*column, self.columns.bundles[number])];
            points.extend([Point { x, y }, Point { x: x + width, y }]);
        }
        let (first, last) = if from < to {
            (start.right(), end.left())
        } else {
            points.reverse();
            (start.left(), end.right())
        };
        points.insert(0, first);
        points.push(last);
        Curve {
            points,
            turns: false,
        }
    }
}

impl Rectangle {
    fn left(self) -> Point {
        Point {
            x: self.x,
            y: self.y + self.height / 2.0,
        }
    }

    fn right(self) -> Point {
        Point {
            x: self.x + self.width,
            y: self.y + self.height / 2.0,
        }
    }
}

/// Returns the place of a line in a box, below its title.
fn row_of(place: Rectangle, row: usize) -> Rectangle {
    Rectangle {
        y: place.y + PADDING + (to_f64(row) + 1.0) * ROW,
        height: ROW,
        ..place
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a picture has far fewer than 2^52 boxes and characters"
)]
fn to_f64(number: usize) -> f64 {
    number as f64
}
