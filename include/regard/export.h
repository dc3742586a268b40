// REGARD_API marks what libregard exports; everything else is built hidden.
#ifndef REGARD_EXPORT_H_
#define REGARD_EXPORT_H_

#if defined(__GNUC__) || defined(__clang__)
#define REGARD_API __attribute__((visibility("default")))
#else
#define REGARD_API
#endif

#endif  // REGARD_EXPORT_H_
