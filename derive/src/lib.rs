//! `#[derive(Event)]` for annals. Use it by the feature `derive` of that crate, which documents it.

mod attributes;
mod expand;

use proc_macro::TokenStream;

/// Makes a value an event: see `annals::sourcing::Event`.
#[proc_macro_derive(Event, attributes(event, serde))]
pub fn event(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::event(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
