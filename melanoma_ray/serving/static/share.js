// A share as a person reads it: the same rule as `describe_share` in melanoma_ray/api.py.

export function describeShare(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  if (share > 0.999 && share < 1) return "> 99.9 %";
  return `${(Math.floor(1000 * share + 0.5) / 10).toFixed(1)} %`;
}
