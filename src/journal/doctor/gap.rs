//! Places that can't be read, told as one as long as they stand side by side.

/// One such run that may go on.
#[derive(Debug, Default)]
pub struct Gap(Option<(i64, i64)>);

impl Gap {
    /// With this place; gives the run before, where it does not stand beside that.
    pub fn with(&mut self, place: i64) -> Option<(i64, i64)> {
        match &mut self.0 {
            Some((_, last)) if *last + 1 == place => {
                *last = place;
                None
            }
            _ => self.0.replace((place, place)),
        }
    }

    /// The run is over.
    pub fn end(&mut self) -> Option<(i64, i64)> {
        self.0.take()
    }

    /// In words.
    pub fn place(from: i64, to: i64) -> String {
        if from == to { format!("place {from}") } else { format!("places {from} to {to}") }
    }
}
