// Any value inside AutogradContext::saved_data, which stores IValues only.
#pragma once

#include <ATen/core/ivalue.h>

#include <utility>

namespace tune::ops {

template <class T>
struct Held : torch::CustomClassHolder {
  explicit Held(T held_value) : value(std::move(held_value)) {}
  T value;
};

template <class T>
c10::IValue hold(T value) {
  return c10::IValue::make_capsule(c10::make_intrusive<Held<T>>(std::move(value)));
}

// The value put in by hold<T>; lives as long as the IValue.
template <class T>
const T& held(const c10::IValue& value) {
  return static_cast<const Held<T>&>(*value.toCapsule()).value;
}

}  // namespace tune::ops
