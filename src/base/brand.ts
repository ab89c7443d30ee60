/** Nominal types over primitives. A branded value is made only in the module that owns the brand. */

declare const brand: unique symbol;

export type Brand<Base, Name extends string> = Base & { readonly [brand]: Name };
