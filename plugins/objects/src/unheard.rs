//! Which deliveries went out in an object of whose fate nothing was heard, so that their next attempt asks for it first.
//!
//! Batches come together anew at every attempt, so a repeat would have another name; this finds the first one again. Bounded by
//! [`UNHEARD_MAX`] deliveries: the oldest are forgotten first, and after a restart all are; they are then written again, and readers
//! tell repeats by `delivery`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_api::Parcel;

/// Deliveries remembered.
pub const UNHEARD_MAX: usize = 16_384;

/// Remembers.
#[derive(Debug, Default)]
pub struct Unheard(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    objects: HashMap<String, Arc<str>>,
    /// In the order of remembering; may name some that were forgotten since.
    order: VecDeque<String>,
}

impl Unheard {
    /// An object goes out with these deliveries.
    pub fn remember(&self, object: &str, deliveries: &[String]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let object: Arc<str> = object.into();
        for delivery in deliveries {
            if state.objects.insert(delivery.clone(), Arc::clone(&object)).is_none() {
                state.order.push_back(delivery.clone());
            }
        }
        while state.objects.len() > UNHEARD_MAX || state.order.len() > 2 * UNHEARD_MAX {
            let Some(oldest) = state.order.pop_front() else { break };
            state.objects.remove(&oldest);
        }
    }

    /// What became of them is known.
    pub fn forget<'a>(&self, deliveries: impl IntoIterator<Item = &'a String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for delivery in deliveries {
            state.objects.remove(delivery);
        }
        if state.objects.is_empty() {
            state.order.clear();
        }
    }

    /// The objects that some of the parcels went out in, and the parcels' places.
    pub fn of(&self, parcels: &[Parcel]) -> BTreeMap<Arc<str>, Vec<usize>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (place, parcel) in parcels.iter().enumerate() {
            if let Some(object) = state.objects.get(&parcel.delivery) {
                found.entry(Arc::clone(object)).or_default().push(place);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Message;
    use switchyard_api::conformance::parcel;

    fn ids(numbers: std::ops::Range<u64>) -> Vec<String> {
        numbers.map(|number| parcel(number, &Message::default()).delivery).collect()
    }
    fn places(unheard: &Unheard, numbers: std::ops::Range<u64>) -> Vec<(String, usize)> {
        let parcels: Vec<_> = numbers.map(|number| parcel(number, &Message::default())).collect();
        unheard.of(&parcels).into_iter().map(|(object, places)| (object.to_string(), places.len())).collect()
    }

    #[test]
    fn a_delivery_is_found_in_its_last_object_until_its_fate_is_known() {
        let unheard = Unheard::default();
        unheard.remember("a", &ids(0..4));
        unheard.remember("b", &ids(3..6));
        assert_eq!(places(&unheard, 0..10), [("a".to_owned(), 3), ("b".to_owned(), 3)]);
        unheard.forget(&ids(0..4));
        assert_eq!(places(&unheard, 0..10), [("b".to_owned(), 2)]);
        unheard.forget(&ids(0..9));
        assert_eq!(places(&unheard, 0..10), []);
    }

    #[test]
    fn the_oldest_are_forgotten_first_whatever_comes_and_goes() {
        let unheard = Unheard::default();
        let most = UNHEARD_MAX as u64;
        unheard.remember("old", &ids(0..10));
        unheard.remember("new", &ids(10..most + 5));
        assert_eq!(places(&unheard, 0..20), [("new".to_owned(), 10), ("old".to_owned(), 5)]);
        for _ in 0..3 {
            unheard.forget(&ids(10..most));
            unheard.remember("again", &ids(10..most));
        }
        let state = unheard.0.lock().unwrap();
        assert!(state.objects.len() <= UNHEARD_MAX && state.order.len() <= 2 * UNHEARD_MAX);
    }
}
